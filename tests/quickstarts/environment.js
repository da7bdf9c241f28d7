// What `cargo xtask test quickstarts` hands over: where everything is that a stranger would install.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const MEANING = {
  TEST_BIN_DIR: "where the built programs are",
  TEST_CHROMIUM: "the browser's program",
  TEST_CRATES: "where the packed crates are unpacked",
  TEST_PASTE: "what `cargo xtask pack` prints",
  TEST_TARBALL: "the packed npm package",
  TEST_TARGET_DIR: "cargo's target directory",
};

/** A path that the environment names. */
export function given(name) {
  const path = process.env[name];
  if (!path) throw new Error(`${name} must say ${MEANING[name]}: run \`cargo xtask test quickstarts\``);
  if (!existsSync(path)) throw new Error(`${name}: there is no ${path}`);
  return path;
}

/** A path in the repository. */
export const repository = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Where a crate of ours was unpacked, in a folder `NAME-VERSION`; `undefined` if it is none of ours. */
export function packedCrate(name) {
  const dir = given("TEST_CRATES");
  const folder = readdirSync(dir).find((it) => it.replace(/-\d+\.\d+\.\d+$/, "") === name);
  return folder && join(dir, folder);
}
