// The wasm as text: deflated (zlib), in base64. `scripts/inline-wasm.js` makes it.

declare const text: string;
export default text;
