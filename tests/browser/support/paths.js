// Where the built programs are. `cargo xtask test browser` says so; without it, where a debug build puts them.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const programs =
  process.env.TEST_BIN_DIR ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug");

function built(path, how) {
  if (!existsSync(path)) throw new Error(`there is no ${path}: ${how}`);
  return path;
}

export const boardServer = () =>
  built(process.env.TEST_BOARD_BIN ?? join(programs, "board"), "run cargo build -p board");

export const nativeClient = () =>
  built(
    process.env.TEST_QUICKSTART_BIN ?? join(programs, "quickstart-native"),
    "run cargo build -p quickstart-native",
  );

export const tidewireServer = () =>
  built(join(programs, "tidewire-server"), "run cargo build -p tidewire-server");

export const middlebox = () => built(join(programs, "middlebox"), "run cargo build -p tidewire-middleboxes");

/** The package as it is built. */
export const packageDist = () => built(join(root, "npm/dist/index.js"), "run cargo xtask test npm").replace(/index\.js$/, "");

/** A folder of what all languages' tests read. */
export const fixtures = (name) => built(join(root, "tests/fixtures", name), "clone the whole repository");

export const benchProgram = () =>
  built(join(programs, "tidewire-bench"), "run cargo build -p tidewire-bench");

/** Where the page's source is, with its dependencies installed. */
export const pageSource = () => {
  built(join(root, "examples/board/page/node_modules"), "run npm ci in examples/board/page");
  return join(root, "examples/board/page");
};

export const boardPage = () =>
  built(
    process.env.TEST_BOARD_DIST ?? join(root, "examples/board/page/dist"),
    "run npm ci and npm run build in examples/board/page",
  );

export const chromium = () => built(process.env.TEST_CHROMIUM ?? "/usr/bin/chromium", "install chromium");
