// Sessions over HTTP through a proxy that loses answers, breaks streams and repeats POSTs: nothing is missed, and
// nothing happens twice.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inc, put } from "./changes.js";
import { Proxy } from "./proxy.js";
import { Server, codec, nextFrame, transports, until } from "./support.js";

const committed = { state: "committed" };
const DOWN = { "sse": "/v1/sse", "long-poll": "/v1/poll" };

/** A server, a proxy before it, Ana who writes past the proxy and Bo behind it. */
async function world(t, transport, settings) {
  const server = await Server.start(t, settings);
  const proxy = await Proxy.start(t, server.url);
  const [, ana] = await server.join("dev:ana");
  const [client, bo] = await server.join("dev:bo", { url: proxy.url, transport: transports[transport] });
  await ana.mutate(put("cards", "c1", { votes: 0 })).outcome;
  await until("bo to see the card", () => bo.base.size === 1);
  let links = 1;
  client.on("linked", () => (links += 1));
  return { server, proxy, ana, bo, client, links: () => links, votes: () => bo.base.field("cards", "c1", "votes") };
}

const vote = (channel) => channel.mutate(inc("cards", "c1", "votes", 1)).outcome;
/** The numbers of all mutations that were pushed at the proxy, in order. */
const pushed = ({ requests }) =>
  requests
    .filter(({ door }) => door === "/v1/push")
    .flatMap(({ body }) => codec.decode(body))
    .filter(({ kind }) => kind === "push")
    .flatMap(({ frame }) => frame.items.map((_, i) => frame.firstN + i));

for (const [transport, door] of Object.entries(DOWN)) {
  test(`${transport}: an answer or event that is cut in its middle costs a link and no entry`, async (t) => {
    const { proxy, ana, bo, links, votes } = await world(t, transport);
    for (let round = 1; round <= 4; round += 1) {
      const before = links();
      proxy.breakNext(door);
      const edit = vote(ana);
      await until("the link to have broken and another one to be there", () => links() > before && bo.state === "live");
      assert.deepEqual(await edit, committed);
      await until("bo to have missed nothing", () => votes() === String(round));
    }
    assert.deepEqual(bo.answers, { resume: 4, snapshot: 1 });
    assert.equal(bo.base.canonical(), ana.base.canonical());
  });

  test(`${transport}: a POST whose answer is lost goes again and changes nothing twice`, async (t) => {
    const { proxy, bo, links, votes } = await world(t, transport);
    const again = () => pushed(proxy).length - new Set(pushed(proxy)).size;
    for (let round = 1; round <= 3; round += 1) {
      proxy.breakNext("/v1/push");
      assert.deepEqual(await vote(bo), committed);
      // Answered, too: else the next round breaks that answer.
      await until("the POST to have come again", () => again() === round && proxy.requests.findLast(({ door }) => door === "/v1/push").status === 200);
    }
    assert.deepEqual(await vote(bo), committed);
    assert.equal(votes(), "4");
    // The link lives: the stream is another matter than its POSTs.
    assert.equal(links(), 1);
  });

  test(`${transport}: late copies of POSTs change nothing, show nothing and ask for nothing`, async (t) => {
    const { server, proxy, ana, client, bo, votes } = await world(t, transport);
    proxy.copies = true;
    let frames = 0;
    client.on("frame", (kind) => (frames += kind === "resume" || kind === "snapshotBegin"));
    bo.setPresence("1");
    await until("bo to appear", () => ana.peers.size === 1);
    for (let i = 0; i < 5; i += 1) assert.deepEqual(await vote(bo), committed);
    bo.setPresence("2");
    await until("bo to move", () => [...ana.peers.values()][0]?.data === "2");
    // Behind this one comes the copy of what showed bo.
    bo.setPresence(undefined);
    await until("bo to go", () => ana.peers.size === 0);
    assert.deepEqual(await vote(bo), committed);
    await until("ana to see all votes", () => ana.base.field("cards", "c1", "votes") === "6");
    assert.equal(votes(), "6");
    const late = server.client("dev:late");
    const present = nextFrame(late, "presence");
    late.channel(bo.name);
    assert.deepEqual((await present).peers, []);
    assert.equal(ana.peers.size, 0);
    assert.equal(frames, 0);
  });

  test(`${transport}: who posts too often is told 429, waits and loses nothing`, async (t) => {
    const { proxy, client, bo, links, votes } = await world(t, transport, { LIMITS_RATE_CONNECTION_PER_S: 100, LIMITS_RATE_CONNECTION_BURST: 10 });
    // In one POST, which is let in and takes half a second to be forgiven.
    for (let i = 0; i < 60; i += 1) client.send({ ping: { t: i } });
    await nextFrame(client, "pong");
    assert.deepEqual(await vote(bo), committed);
    assert.equal(votes(), "1");
    assert.ok(proxy.requests.some(({ status }) => status === 429));
    assert.equal(links(), 1);
  });
}

test("long-poll: a session that is gone between two polls is 410, and another one resumes", async (t) => {
  const { server, proxy, ana, bo, client, links, votes } = await world(t, "long-poll");
  const refusals = [];
  client.on("refused", (code) => refusals.push(code));
  client.pause();
  // Ends the poll that is held; the next one waits for the client to go on.
  assert.deepEqual(await vote(ana), committed);
  await until("its answer", () => proxy.requests.filter(({ door }) => door === "/v1/poll").every(({ status }) => status === 200));
  await server.kill();
  await server.run();
  assert.deepEqual(await vote(ana), committed);
  client.resume();
  await until("bo to be back", () => links() === 2 && votes() === "2");
  assert.deepEqual(bo.answers, { resume: 1, snapshot: 1 });
  assert.deepEqual(refusals, []);
  assert.equal(proxy.requests.filter(({ status }) => status === 410).length, 1);
});

test("sse: a POST that hears 410 ends a stream whose end nobody told, and its push is not lost", async (t) => {
  const { server, proxy, ana, bo, links, votes } = await world(t, "sse");
  proxy.hidesEnds = true;
  await server.kill();
  await server.run();
  assert.deepEqual(await vote(ana), committed);
  assert.equal(bo.state, "live");
  bo.setPresence("1");
  assert.deepEqual(await vote(bo), committed);
  await until("bo to be back", () => links() === 2 && votes() === "2");
  await until("bo to be seen", () => ana.peers.size === 1);
  assert.ok(proxy.requests.some(({ door, status }) => door === "/v1/push" && status === 410));
});
