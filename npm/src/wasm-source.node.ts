/** Where the wasm is for Node, whose `fetch` reads no files. */

import type { WasmSource } from "./types.js";

export async function wasmSource(): Promise<WasmSource> {
  // A cast rather than Node's types, which would reach into everybody's program from here.
  const name: string = "node:fs/promises";
  const { readFile } = (await import(name)) as { readFile(file: URL): Promise<Uint8Array<ArrayBuffer>> };
  return readFile(new URL("./wasm/tidewire_bg.wasm", import.meta.url));
}
