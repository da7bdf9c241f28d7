/** Where the wasm is: in a script beside this one, deflated, as text. */

/**
 * Its bytes, and no `Response` of them: the look-alike browsers of test suites bring a `Response` and a
 * `Blob` of their own, which WebAssembly does not take.
 */
export async function inlineWasm(): Promise<Uint8Array<ArrayBuffer>> {
  const { default: text } = await import("./wasm/inline.js");
  const { writable, readable } = new DecompressionStream("deflate");
  const writer = writable.getWriter();
  // Text that is no deflated wasm fails the reading as well.
  writer.write(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))).catch(() => {});
  writer.close().catch(() => {});
  const parts: Uint8Array[] = [];
  const reader = readable.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
