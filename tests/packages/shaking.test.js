// What bundlers leave of the package when an application uses little of it.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import * as esbuild from "esbuild";
import * as vite from "vite";
import webpack from "webpack";
import { here } from "./support/paths.js";

/** Each bundles `main` into `out`, as for a page. */
const bundlers = {
  esbuild: (main, out) =>
    esbuild.build({ entryPoints: [main], outdir: out, bundle: true, minify: true, format: "esm", logLevel: "error" }),
  vite: (main, out) =>
    vite.build({
      configFile: false,
      root: out,
      logLevel: "error",
      build: { outDir: out, modulePreload: { polyfill: false }, rolldownOptions: { input: main } },
    }),
  webpack: async (main, out) => {
    const compiler = webpack({ mode: "production", entry: main, output: { path: out }, performance: { hints: false } });
    const stats = await promisify(compiler.run.bind(compiler))();
    assert.deepEqual(stats.toJson({ all: false, errors: true, warnings: true }), { errors: [], warnings: [] });
    await promisify(compiler.close.bind(compiler))();
  },
};

/** The text of all scripts that are written for a program. What no script names is loaded by no page: Vite leaves the wasm there. */
async function bundle(t, build, program) {
  const dir = await mkdtemp(join(here, "node_modules/.shaking-"));
  t.after(() => rm(dir, { recursive: true }));
  const out = join(dir, "out");
  await mkdir(out);
  await writeFile(join(dir, "main.js"), program);
  await build(join(dir, "main.js"), out);
  const files = await readdir(out, { recursive: true });
  const scripts = files.filter((file) => file.endsWith(".js"));
  const texts = await Promise.all(scripts.map((file) => readFile(join(out, file), "utf8")));
  return texts.join("\n");
}

for (const [name, build] of Object.entries(bundlers)) {
  test(`${name}: imports of which nothing is used leave nothing`, async (t) => {
    const entries = ["tidewire", "tidewire/inline", "tidewire/react", "tidewire/zustand"];
    const program = entries.map((entry, n) => `import * as unused${n} from "${entry}";\nimport "${entry}";\n`).join("");
    const text = await bundle(t, build, program);
    assert.ok(text.trim().length < 64, text);
  });

  test(`${name}: the error alone is the error alone`, async (t) => {
    const program = `import { TidewireError } from "tidewire";\nconsole.log(TidewireError);\n`;
    const text = await bundle(t, build, program);
    assert.ok(text.includes("retryable") && text.length < 600, text);
  });

  test(`${name}: the client brings neither adapters nor the inline wasm`, async (t) => {
    const program = `import { createClient } from "tidewire";\nconsole.log(createClient);\n`;
    const text = await bundle(t, build, program);
    assert.ok(text.includes("wasm_load_failed"), "the client is there");
    for (const stranger of ["useSyncExternalStore", "setState", "DecompressionStream", "protobufjs"]) {
      assert.ok(!text.includes(stranger), stranger);
    }
  });
}
