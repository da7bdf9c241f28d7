// Programs outside of a browser: each joins a real server by the installed package alone.

import { after, before, test } from "node:test";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { Child, run } from "./support/child.js";
import { consumer, installed, program } from "./support/paths.js";
import { Stage } from "./support/server.js";

let stage;
before(async () => {
  stage = await Stage.open();
});
after(() => stage?.close());

const TRANSPORTS = ["websocket", "sse", "long-poll"];

/** A program that takes the server's URL, a channel and a transport, and prints what it has done: over each of them. */
function prints(name, file, args, cwd) {
  for (const transport of TRANSPORTS) {
    test(`${name}, over ${transport}`, async () => {
      const channel = await stage.channel(`${name} ${transport}`.replaceAll(" ", "-"));
      const printed = await run(file, [...args, stage.url, channel.name, transport], { cwd });
      stage.check(channel, JSON.parse(printed), transport);
    });
  }
}

prints("Node imports it", process.execPath, ["import.mjs"], consumer("node"));
prints("Node requires it", process.execPath, ["require.cjs"], consumer("node"));
prints("Deno", program("deno"), ["run", "--quiet", "--allow-all", "--cached-only", "main.js"], consumer("deno"));
prints("Bun", program("bun"), ["run", "main.js"], consumer("bun"));

test("workerd", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "tidewire-workerd-"));
  t.after(() => rm(dir, { recursive: true }));
  // As its deployment tool bundles: the conditions, and a wasm file as a module beside the script.
  await build({
    entryPoints: [join(consumer("workerd"), "worker.js")],
    outfile: join(dir, "worker.js"),
    bundle: true,
    format: "esm",
    conditions: ["workerd", "worker", "browser"],
    plugins: [{ name: "wasm-module", setup: keepWasmImports }],
  });
  await copyFile(join(installed, "dist/wasm/tidewire_bg.wasm"), join(dir, "tidewire_bg.wasm"));
  await copyFile(join(consumer("workerd"), "config.capnp"), join(dir, "config.capnp"));
  const worker = new Child(program("workerd"), ["serve", "config.capnp", "--control-fd=1"], { cwd: dir });
  t.after(() => worker.stop());
  const port = await worker.line(/"event":"listen".*"port":(\d+)/);
  for (const transport of TRANSPORTS) {
    await t.test(`over ${transport}`, async () => {
      const channel = await stage.channel(`workerd-${transport}`);
      const query = new URLSearchParams({ server: stage.url, channel: channel.name, transport });
      const answer = await fetch(`http://127.0.0.1:${port}/?${query}`);
      stage.check(channel, JSON.parse(await answer.text()), transport);
    });
  }
});

function keepWasmImports({ onResolve }) {
  onResolve({ filter: /\.wasm$/ }, () => ({ path: "tidewire_bg.wasm", external: true }));
}
