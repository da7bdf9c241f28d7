/** Where the wasm is: a module of the program, compiled by whoever deploys it. */

import type { WasmSource } from "./types.js";
import module from "./wasm/tidewire_bg.wasm";

export function wasmModule(): WasmSource {
  return module;
}
