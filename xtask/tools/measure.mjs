// Prints {"bytes","brotli_bytes","imports"} of one file. Fails when a .wasm file is no valid module.
import { readFileSync } from "node:fs";
import { brotliCompressSync, constants } from "node:zlib";

const path = process.argv[2];
const bytes = readFileSync(path);
const brotli = brotliCompressSync(bytes, {
  params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
});
const imports = path.endsWith(".wasm")
  ? [...new Set(WebAssembly.Module.imports(new WebAssembly.Module(bytes)).map((entry) => entry.module))]
  : [];
console.log(JSON.stringify({ bytes: bytes.length, brotli_bytes: brotli.length, imports }));
