/** Where the wasm is for Node, whose `fetch` reads no files. */

import type { WasmSource } from "./types.js";

export async function wasmSource(): Promise<WasmSource> {
  const { readFile } = await import("node:fs/promises");
  return readFile(new URL("./wasm/tidewire_bg.wasm", import.meta.url)) as Promise<BufferSource>;
}
