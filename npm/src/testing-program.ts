/** Where the program `tidewire-server` is. */

import { statSync } from "node:fs";
import { delimiter, join } from "node:path";

import { TidewireError } from "./errors.js";

const NAME = process.platform === "win32" ? "tidewire-server.exe" : "tidewire-server";

/** The program that was given, else that of the environment, else that on the `PATH`. Errors: `server_missing`. */
export function findProgram(given: string | undefined): string {
  const named = given ?? process.env["TIDEWIRE_SERVER"];
  if (named !== undefined) {
    if (isFile(named)) return named;
    const source = given === undefined ? "TIDEWIRE_SERVER" : "the option `program`";
    throw new TidewireError("server_missing", `there is no program ${named}: correct ${source}`);
  }
  const found = (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((dir) => join(dir, NAME))
    .find(isFile);
  if (found) return found;
  throw new TidewireError(
    "server_missing",
    "tidewire-server is not on the PATH: run `cargo install tidewire-server`, or say where it is in TIDEWIRE_SERVER",
  );
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
