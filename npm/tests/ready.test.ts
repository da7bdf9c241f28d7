// `ready()` and `live` mean everything, against the real program: a newcomer is handed a snapshot that may be
// a while old, and what came since then follows.

import { existsSync } from "node:fs";
import { join } from "node:path";

import { expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";

import type { Channel } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import type { TestServer } from "../dist/testing.js";
import { startServer } from "../dist/testing.js";

interface Docs {
  docs: { at: number };
}

const BATCHES = 200;
const BATCH = 100;

function program(): string {
  const program = join(process.env["TEST_BIN_DIR"] ?? "", "tidewire-server");
  if (!existsSync(program)) throw new Error(`there is no ${program}: run \`cargo xtask test npm\``);
  return program;
}

function visit(server: TestServer, name: string): Channel<Docs> {
  const client = createClient({ url: server.url, token: server.token(name), WebSocket });
  onTestFinished(() => client.close());
  return client.channel<Docs>("board:ready");
}

it("a newcomer is ready with every record", async () => {
  await using server = await startServer({ program: program() });
  const writer = visit(server, "writer");
  // The channel is encoded now, for this first visitor, and handed to the next ones.
  await writer.ready();
  const written = Array.from({ length: BATCHES }, (_, batch) =>
    writer.batch((records) => {
      for (let at = 0; at < BATCH; at += 1) records.put("docs", `d${batch * BATCH + at}`, { at });
    }),
  );
  await Promise.all(written.map((mutation) => mutation.committed));
  const late = visit(server, "late");
  await late.ready();
  expect([late.status, late.ids("docs").length]).toEqual(["live", BATCHES * BATCH]);
}, 60_000);

it("a newcomer is loading while its patches are on the way", async () => {
  await using server = await startServer({ program: program() });
  const writer = visit(server, "writer");
  await writer.ready();
  for (let at = 0; at < 5; at += 1) await writer.put("docs", `d${at}`, { at }).committed;
  await server.faults.set({ seed: 1, rules: [{ name: "slow", frames: ["patch"], effect: { delay: { ms: 500 } } }] });
  const late = visit(server, "late");
  const seen: [string, number][] = [];
  late.on("status", (status) => seen.push([status, late.ids("docs").length]));
  await late.ready();
  expect([late.status, late.ids("docs").length]).toEqual(["live", 5]);
  expect(seen.filter(([status, records]) => status !== "loading" && records < 5)).toEqual([]);
});
