/** Where the wasm is: in a script beside this one, deflated, as text. */

import type { WasmSource } from "./types.js";

export function inlineWasm(): WasmSource {
  return inflate();
}

async function inflate(): Promise<Response> {
  const { default: text } = await import("./wasm/inline.js");
  const deflated = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const bytes = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(bytes, { headers: { "content-type": "application/wasm" } });
}
