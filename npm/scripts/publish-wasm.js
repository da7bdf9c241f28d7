// Publishes what goes with the wasm: its declarations, and the wasm as a script, for `tidewire/inline` and Node.
// Deflated first: the text is less than half as long, and an eighth shorter once a server has compressed it again.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { constants, deflateSync } from "node:zlib";

const written = new URL("../src/wasm/", import.meta.url);
const wasm = new URL("../dist/wasm/", import.meta.url);
for (const name of ["tidewire.d.ts", "inline.d.ts"]) copyFileSync(new URL(name, written), new URL(name, wasm));

const deflated = deflateSync(readFileSync(new URL("tidewire_bg.wasm", wasm)), { level: constants.Z_BEST_COMPRESSION });
writeFileSync(new URL("inline.js", wasm), `export default "${deflated.toString("base64")}";\n`);
