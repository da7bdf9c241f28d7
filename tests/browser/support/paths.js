// Where the built programs are: named by the environment, else where a debug build puts them.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../../../", import.meta.url);
const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("target", root));

function built(variable, fallback, how) {
  const path = process.env[variable] ?? fallback;
  if (!existsSync(path)) throw new Error(`there is no ${path}: ${how}, or name it with ${variable}`);
  return path;
}

export const boardServer = () => built("TIDEWIRE_BOARD_BIN", `${target}/debug/board`, "run cargo build -p board");

export const nativeClient = () =>
  built("TIDEWIRE_QUICKSTART_BIN", `${target}/debug/quickstart-native`, "run cargo build -p quickstart-native");

export const boardPage = () =>
  built(
    "TIDEWIRE_BOARD_DIST",
    fileURLToPath(new URL("examples/board/page/dist", root)),
    "run npm ci && npm run build in examples/board/page",
  );

export const chromium = () => built("TIDEWIRE_CHROMIUM", "/usr/bin/chromium", "install chromium");
