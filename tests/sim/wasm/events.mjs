// Holds the core's reader of server-sent events, compiled to wasm32, against tests/fixtures/sse:
// `node events.mjs BINDINGS.js MODULE.wasm FIXTURES`.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [bindings, module, fixtures] = process.argv.slice(2);
const { initSync, read_events } = await import(pathToFileURL(bindings).href);
initSync({ module: readFileSync(module) });

/** Whole, in single bytes, in pairs, and cut by chance as tests/fixtures/sse.rs cuts. */
function cuts(length) {
  const even = (size) =>
    Array.from({ length: Math.ceil(length / size) }, (_, at) => Math.min(size, length - at * size));
  const all = [[length], even(1), even(2)];
  let state = length + 1;
  for (let round = 0; round < 4; round += 1) {
    const sizes = [];
    for (let left = length; left > 0; left -= sizes.at(-1)) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      sizes.push(Math.min(left, (state >>> 16) % 9));
    }
    all.push(sizes);
  }
  return all;
}

let count = 0;
for (const file of readdirSync(fixtures).filter((name) => name.endsWith(".json"))) {
  for (const { name, stream = "", hex, events } of JSON.parse(readFileSync(join(fixtures, file), "utf8"))) {
    const bytes = hex === undefined ? new TextEncoder().encode(stream) : new Uint8Array(Buffer.from(hex, "hex"));
    const expected = events.flatMap(({ type = "message", data }) => [type, data]);
    for (const sizes of cuts(bytes.length)) {
      const found = read_events(bytes, Uint32Array.from(sizes));
      assert.deepEqual(found, expected, `${file}: ${name}, in ${sizes.length} pieces`);
    }
    count += 1;
  }
}
assert.ok(count >= 120, `only ${count} vectors`);
console.log(`${count} streams of server-sent events are read alike on wasm32, however they are cut`);
