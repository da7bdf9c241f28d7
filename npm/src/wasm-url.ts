/** Where the wasm is: beside this file. Bundlers know this form of URL and copy the file. */

import type { WasmSource } from "./types.js";

interface NodeFs {
  readFileSync(file: URL): Uint8Array<ArrayBuffer>;
}

interface MaybeNode {
  process?: { getBuiltinModule?(name: string): NodeFs | undefined };
}

/** The URL, or in Node, whose `fetch` reads no files, the bytes. */
export function wasmUrl(): WasmSource {
  const url = new URL("./wasm/tidewire_bg.wasm", import.meta.url);
  if (url.protocol !== "file:") return url;
  // Asked for at run time, so that no bundler looks for `fs` on behalf of a page.
  const fs = (globalThis as MaybeNode).process?.getBuiltinModule?.("node:fs");
  return fs ? fs.readFileSync(url) : url;
}
