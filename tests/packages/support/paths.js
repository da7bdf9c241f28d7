// Where things are. `cargo xtask test packages` says so; without it, where a debug build and `cargo xtask pack` put them.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");

function built(path, how) {
  if (!existsSync(path)) throw new Error(`there is no ${path}: ${how}`);
  return path;
}

/** This directory: consumers find the installed packages above them. */
export const here = fileURLToPath(new URL("../", import.meta.url));

/** A consumer's folder. */
export const consumer = (name) => join(here, "consumers", name);

/** Where the tarball is installed. */
export const installed = join(here, "node_modules/tidewire");

export const tarball = () =>
  built(process.env.TEST_TARBALL ?? join(target, "xtask/pack/tidewire.tgz"), "run cargo xtask pack");

export const serverProgram = () =>
  built(
    join(process.env.TEST_BIN_DIR ?? join(target, "debug"), "tidewire-server"),
    "run cargo build -p tidewire-server",
  );

export const chromium = () => built(process.env.TEST_CHROMIUM ?? "/usr/bin/chromium", "install chromium");

/** A program that an npm package brings. */
export const program = (name) =>
  built(join(here, "node_modules/.bin", name), "run npm ci in tests/packages");
