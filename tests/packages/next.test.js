// Next with Turbopack: the package on its server, in the page that it renders, and in the browser.

import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, visit } from "./support/browser.js";
import { Child, run } from "./support/child.js";
import { consumer, program } from "./support/paths.js";
import { Stage } from "./support/server.js";

const cwd = consumer("next");
const env = { NEXT_TELEMETRY_DISABLED: "1" };

let stage;
let browser;
before(async () => {
  [stage, browser] = await Promise.all([Stage.open(), launch()]);
});
after(async () => {
  await browser?.close();
  await stage?.close();
});

/** Starts Next and says where it listens. */
async function start(t, command) {
  const next = new Child(program("next"), [command, "--hostname", "127.0.0.1", "--port", "0"], { cwd, env });
  t.after(() => next.stop());
  return next.line(/Local:\s+(http:\/\/\S+)/);
}

async function worksInThePage(url, name) {
  const channel = await stage.channel(name);
  const query = { server: stage.url, channel: channel.name };
  stage.check(channel, await visit(browser, url, query));
}

test("the built application", async (t) => {
  await rm(join(cwd, ".next"), { recursive: true, force: true });
  await run(program("next"), ["build"], { cwd, env });
  const url = await start(t, "start");
  await worksInThePage(url, "next-page");

  const channel = await stage.channel("next-server");
  const query = new URLSearchParams({ server: stage.url, channel: channel.name });
  stage.check(channel, await (await fetch(`${url}/api/cards?${query}`)).json());

  const edge = await fetch(`${url}/api/edge`);
  assert.deepEqual(await edge.json(), { state: "idle", error: "function" });
});

test("while developing", async (t) => {
  await worksInThePage(await start(t, "dev"), "next-dev");
});
