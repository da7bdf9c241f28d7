// The package as a thing: what is in it, and what its exports promise.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { publint } from "publint";
import { run } from "./support/child.js";
import { here, installed, program, root, tarball } from "./support/paths.js";

test("what it exports is there, and so are readme and licences", async () => {
  const { exports: map } = JSON.parse(await readFile(join(installed, "package.json"), "utf8"));
  const promised = Object.values(map).flatMap((entry) => (typeof entry === "string" ? entry : Object.values(entry)));
  const files = await readdir(installed, { recursive: true });
  assert.deepEqual(promised.filter((file) => !files.includes(file.slice("./".length))), []);
  assert.ok(files.includes("README.md"));
  for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) {
    assert.equal(await readFile(join(installed, licence), "utf8"), await readFile(join(root, licence), "utf8"));
  }
});

test("publint finds nothing", async () => {
  const { messages } = await publint({ pkgDir: installed, pack: false, strict: true });
  assert.deepEqual(messages, []);
});

test("attw finds types for everybody who imports", async () => {
  // Its profile leaves out what this package is not for: TypeScript before "exports", and types of CommonJS.
  const data = ["tidewire.wasm", "proto/tidewire.proto"];
  const args = [tarball(), "--profile", "esm-only", "--exclude-entrypoints", ...data];
  // Ends with 1 when it finds something.
  await run(program("attw"), args);
});

for (const name of ["page", "node"]) {
  test(`declarations hold together where only the library of a ${name} is there`, async () => {
    await run(program("tsc"), ["--project", join(here, "consumers/types", `tsconfig.${name}.json`)]);
  });
}
