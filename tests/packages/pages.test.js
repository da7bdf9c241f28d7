// Pages in Chromium, each built by another tool, or by none.

import assert from "node:assert/strict";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { after, before, test } from "node:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import react from "@vitejs/plugin-react";
import * as esbuild from "esbuild";
import * as vite from "vite";
import webpack from "webpack";
import { launch, visit } from "./support/browser.js";
import { consumer, here } from "./support/paths.js";
import { Stage } from "./support/server.js";

let stage;
let browser;
before(async () => {
  [stage, browser] = await Promise.all([Stage.open(), launch()]);
});
after(async () => {
  await browser?.close();
  await stage?.close();
});

/** Serves a directory as it is, until the test ends. */
async function serve(t, dir, headers = {}) {
  const server = await vite.preview({
    configFile: false,
    root: dir,
    appType: "mpa",
    logLevel: "error",
    build: { outDir: "." },
    preview: { host: "127.0.0.1", port: 0, headers },
  });
  t.after(() => server.close());
  return server.resolvedUrls.local[0];
}

async function emptyDir(t) {
  const dir = await mkdtemp(join(tmpdir(), "tidewire-page-"));
  t.after(() => rm(dir, { recursive: true }));
  return dir;
}

async function works(name, url) {
  const channel = await stage.channel(name);
  stage.check(channel, await visit(browser, url, { server: stage.url, channel: channel.name }));
}

async function viteBuild(t) {
  const outDir = await emptyDir(t);
  await vite.build({
    configFile: false,
    root: consumer("app"),
    logLevel: "warn",
    plugins: [react()],
    build: { outDir, emptyOutDir: true },
  });
  return outDir;
}

test("Vite builds it", async (t) => {
  await works("vite-build", await serve(t, await viteBuild(t)));
});

for (const [name, optimizeDeps] of [
  ["Vite serves it while developing", {}],
  ["so it does where the package is not optimised", { exclude: ["tidewire"] }],
]) {
  test(name, async (t) => {
    const server = await vite.createServer({
      configFile: false,
      root: consumer("app"),
      cacheDir: await emptyDir(t),
      logLevel: "error",
      plugins: [react()],
      optimizeDeps,
      server: { host: "127.0.0.1", port: 0 },
    });
    t.after(() => server.close());
    await server.listen();
    await works(name.replaceAll(" ", "-"), server.resolvedUrls.local[0]);
  });
}

test("webpack builds it", async (t) => {
  const path = await emptyDir(t);
  const compiler = webpack({
    mode: "production",
    context: consumer("app"),
    entry: "./main.js",
    output: { path, filename: "main.js" },
    performance: { hints: false },
  });
  const stats = await promisify(compiler.run.bind(compiler))();
  await promisify(compiler.close.bind(compiler))();
  assert.deepEqual(stats.toJson({ errors: true, warnings: true }).errors, []);
  assert.deepEqual(stats.toJson().warnings, []);
  await copyFile(join(consumer("app"), "index.html"), join(path, "index.html"));
  await works("webpack", await serve(t, path));
});

test("esbuild makes one classic script of tidewire/inline", async (t) => {
  const outdir = await emptyDir(t);
  await esbuild.build({
    entryPoints: [join(consumer("esbuild"), "main.js")],
    outfile: join(outdir, "main.js"),
    bundle: true,
    minify: true,
    format: "iife",
    logLevel: "warning",
  });
  await copyFile(join(consumer("esbuild"), "index.html"), join(outdir, "index.html"));
  await works("esbuild", await serve(t, outdir));
});

test("a page without a bundler imports it by an import map", async (t) => {
  const url = await serve(t, here);
  await works("importmap", new URL("consumers/importmap/", url).href);
});

test("a content security policy needs 'wasm-unsafe-eval' and nothing else for scripts", async (t) => {
  const dir = await viteBuild(t);
  const policy = (scripts) => ({
    "content-security-policy": `default-src 'none'; script-src ${scripts}; img-src data:; connect-src 'self' ${stage.url.replace("http", "ws")}`,
  });
  await works("csp", await serve(t, dir, policy("'self' 'wasm-unsafe-eval'")));
  const refused = await serve(t, dir, policy("'self'"));
  const channel = await stage.channel("csp-refused");
  const report = await visit(browser, refused, { server: stage.url, channel: channel.name });
  assert.deepEqual(report, { error: "wasm_load_failed" });
});
