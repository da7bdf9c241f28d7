// What holds for documents besides that they can be followed: their snippets compile, each quickstart is
// followed by a test, and the versions that they name are the true ones.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { given, repository } from "./environment.js";
import { fences } from "./markdown.js";

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const read = (path) => readFile(repository(path), "utf8");

const quickstarts = async () => (await readdir(repository("docs"))).filter((name) => name.startsWith("quickstart-"));

/** Documents whose Rust is compiled by `cargo test --doc` (tests/e2e), and whose TypeScript is compiled here. */
const SNIPPETS = ["README.md", "npm/README.md", "docs/faults.md", "docs/testing-your-app.md"];

const OPTIONS = {
  target: "ES2022",
  module: "ESNext",
  moduleResolution: "Bundler",
  jsx: "react-jsx",
  lib: ["ES2023", "ESNext.Disposable", "DOM", "DOM.Iterable"],
  strict: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: true, // ours are checked where a quickstart runs `npx tsc`
  noEmit: true,
  types: ["node"],
};

let desk;
before(async () => {
  desk = await mkdtemp(join(tmpdir(), "tidewire-snippets-"));
  // The packed package among those that snippets use besides.
  const packages = join(desk, "node_modules");
  await mkdir(join(packages, "tidewire"), { recursive: true });
  await run("tar", ["-xzf", given("TEST_TARBALL"), "-C", join(packages, "tidewire"), "--strip-components", "1"]);
  for (const name of await readdir(here("node_modules"))) {
    if (!name.startsWith(".")) await symlink(here(`node_modules/${name}`), join(packages, name));
  }
  await copyFile(here("given.d.ts"), join(desk, "given.d.ts"));
});
after(() => rm(desk, { recursive: true }));

test("every snippet in TypeScript compiles, as it stands", async () => {
  const written = [];
  for (const document of SNIPPETS) {
    const snippets = fences(await read(document)).filter(({ language }) => /^tsx?$/.test(language));
    assert.ok(snippets.length > 0, `${document} has no snippet`);
    for (const { language, line, text } of snippets) {
      const name = `${document.replaceAll("/", "-")}-line-${line}.${language}`;
      // A module of its own, whatever is in it.
      await writeFile(join(desk, name), `${text}export {};\n`);
      written.push(name);
    }
  }
  await writeFile(join(desk, "tsconfig.json"), JSON.stringify({ compilerOptions: OPTIONS, files: ["given.d.ts", ...written] }));
  const tsc = here("node_modules/typescript/bin/tsc");
  await run(process.execPath, [tsc, "-p", desk, "--pretty", "false"], { cwd: desk }).catch((error) => {
    throw new Error(`snippets do not compile:\n${error.stdout || error.stderr}`);
  });
});

test("every fence says its language", async () => {
  for (const document of [...SNIPPETS, ...(await quickstarts()).map((name) => `docs/${name}`)]) {
    for (const { language, line } of fences(await read(document))) assert.ok(language, `${document}:${line}`);
  }
});

test("every quickstart is followed", async () => {
  const tests = (await readdir(here("."))).filter((name) => name.endsWith(".test.js"));
  const sources = await Promise.all(tests.map((name) => readFile(here(name), "utf8")));
  const names = await quickstarts();
  assert.ok(names.length >= 5, `only ${names}`);
  for (const name of names) {
    assert.ok(sources.some((source) => source.includes(`follow("${name}"`)), `no test follows docs/${name}`);
  }
});

test("versions are the true ones", async () => {
  const rust = /rust-version = "([\d.]+)"/.exec(await read("Cargo.toml"))[1];
  const oldest = (engines) => /\d+\.\d+/.exec(engines.node)[0];
  const ours = oldest(JSON.parse(await read("npm/package.json")).engines);
  const vite = oldest(JSON.parse(await readFile(here("node_modules/vite/package.json"), "utf8")).engines);
  for (const name of await quickstarts()) {
    const text = await read(`docs/${name}`);
    const named = (what) => [...text.matchAll(new RegExp(`\\b${what} (\\d+\\.\\d+)`, "g"))].map(([, version]) => version);
    assert.deepEqual(new Set(named("Rust")), new Set([rust]), `docs/${name}: Rust`);
    if (/^npm install/m.test(text)) {
      assert.deepEqual(new Set(named("Node")), new Set([/\bvite\b/.test(text) ? vite : ours]), `docs/${name}: Node`);
    }
  }
});
