// Runs seeds in the wasm build: `node run.mjs BINDINGS.js MODULE.wasm A B` prints one hash a line.
// B is excluded.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [bindings, module, first, end] = process.argv.slice(2);
const { initSync, trace_hash } = await import(pathToFileURL(bindings).href);
initSync({ module: readFileSync(module) });
for (let seed = BigInt(first); seed < BigInt(end); seed += 1n) {
  console.log(trace_hash(seed).toString(16).padStart(16, "0"));
}
