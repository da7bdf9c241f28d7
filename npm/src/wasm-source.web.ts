/** Where the wasm is for browsers, bundlers, Deno and workers: beside this file, by URL. */

import type { WasmSource } from "./types.js";

export function wasmSource(): WasmSource | Promise<WasmSource> {
  return new URL("./wasm/tidewire_bg.wasm", import.meta.url);
}
