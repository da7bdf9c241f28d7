// The page as React's development build, which is the one that mounts everything twice in StrictMode.

import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { pageSource } from "./paths.js";

/** Builds it into a directory of its own. */
export async function buildForDevelopment() {
  const dir = await mkdtemp(join(tmpdir(), "tidewire-board-page-"));
  const vite = join(pageSource(), "node_modules/vite/bin/vite.js");
  const args = [
    vite,
    "build",
    "--mode",
    "development",
    "--outDir",
    dir,
    "--emptyOutDir",
    "--logLevel",
    "error",
  ];
  await promisify(execFile)(process.execPath, args, {
    cwd: pageSource(),
    env: { ...process.env, NODE_ENV: "development" },
  });
  const scripts = (await readdir(join(dir, "assets"))).filter((name) => name.endsWith(".js"));
  const code = await Promise.all(scripts.map((name) => readFile(join(dir, "assets", name), "utf8")));
  if (!code.some((text) => text.includes("Invalid hook call")))
    throw new Error("this is not React's development build");
  return { dir, remove: () => rm(dir, { recursive: true }) };
}
