// Removes what former builds wrote, so that no file of a deleted source is published. The wasm stays: it is
// built by itself, before.
import { readdirSync, rmSync } from "node:fs";

const dist = new URL("../dist/", import.meta.url);
for (const name of readdirSync(dist)) {
  if (name !== "wasm") rmSync(new URL(name, dist), { recursive: true });
}
