// A session that changes its transport while everybody writes: no gap, nothing twice, nobody sees it blink.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { inc, put } from "./changes.js";
import { Server, transports, until } from "./support.js";

const ROADS = [
  ["websocket", "long-poll"],
  ["websocket", "sse"],
  ["sse", "websocket"],
  ["long-poll", "sse"],
  ["long-poll", "websocket"],
];

for (const [from, to] of ROADS) {
  test(`from ${from} to ${to}, with changes from both sides all the while`, async (t) => {
    const server = await Server.start(t);
    const [[, ana], [client, bo]] = await Promise.all([server.join("dev:ana"), server.join("dev:bo", { transport: transports[from] })]);
    await ana.mutate(put("cards", "c1", { votes: 0 })).outcome;
    bo.setPresence("1");
    await until("bo to appear", () => ana.peers.size === 1);

    let moved = false;
    client.on("linked", (transport) => (moved ||= transport === transports[to]));
    const seen = { states: new Set(), peers: new Set(), seqs: [] };
    const look = () => {
      seen.states.add(bo.state);
      seen.peers.add(ana.peers.size);
      seen.seqs.push(bo.cursor.seq);
    };
    client.on("frame", () => queueMicrotask(look));
    let writes = 0;
    const write = async (channel) => {
      for (let i = 0; i < 10 || !moved; i += 1) {
        const { state } = await channel.mutate(inc("cards", "c1", "votes", 1)).outcome;
        assert.equal(state, "committed");
        writes += 1;
        look();
      }
    };
    const writers = [write(ana), write(bo)];
    await until("some of it to have come", () => bo.cursor.seq > 5);
    client.moveTo(transports[to]);
    await Promise.all(writers);

    await until("both to have all of it", () => [ana, bo].every((channel) => channel.base.field("cards", "c1", "votes") === String(writes)));
    assert.deepEqual(bo.answers, { resume: 1, snapshot: 1 });
    for (const state of seen.states) assert.ok(["live", "catching-up"].includes(state), state);
    assert.deepEqual([...seen.peers], [1]);
    assert.deepEqual(seen.seqs, seen.seqs.toSorted((a, b) => a - b));
    assert.equal(client.transport, transports[to]);

    // After a break it is the new one again.
    const back = once(client, "linked");
    client.cut();
    assert.deepEqual(await back, [transports[to]]);
    assert.equal((await bo.mutate(inc("cards", "c1", "votes", 1)).outcome).state, "committed");
    assert.equal(client.transport, transports[to]);
  });
}

test("a next link that cannot be had changes nothing", async (t) => {
  const server = await Server.start(t, { ENABLE_HTTP_FALLBACK: false });
  const [client, ana] = await server.join("dev:ana", { transport: transports.websocket });
  for (const to of ["sse", "long-poll"]) {
    client.moveTo(transports[to]);
    await until("it to be given up", () => !client.moving);
    assert.equal(ana.state, "live");
  }
  assert.equal((await ana.mutate(put("cards", "c1", {})).outcome).state, "committed");
  assert.deepEqual(ana.answers, { resume: 0, snapshot: 1 });
});
