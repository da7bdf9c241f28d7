// Runs the real program, which the PATH names behind this folder.

import { spawnSync } from "node:child_process";
import { delimiter } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url)).replace(/\/$/, "");

export function passOn(program, args) {
  const path = process.env.PATH.split(delimiter).filter((dir) => dir !== here);
  const { status, error } = spawnSync(program, args, {
    stdio: "inherit",
    env: { ...process.env, PATH: path.join(delimiter) },
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
