// The document against the real server: a client written from the protocol's page alone sees what the page promises.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { del, inc, put, set, unset } from "./changes.js";
import { Doors, push as pushOf } from "./doors.js";
import { PATIENCE_MS, Server, nextFrame, until } from "./support.js";

const NOT_FOUND = 3002;
const committed = { state: "committed" };

async function converged(...channels) {
  await until("all outboxes to drain", () => channels.every((channel) => channel.pending === 0));
  // Nobody writes any more: the head stands still, and all come to the same entry of the same epoch.
  const place = ({ cursor, state }) => JSON.stringify([state, cursor]);
  await until("all to reach the head", () => channels.every((channel) => channel.state === "live" && place(channel) === place(channels[0])));
  const [first, ...others] = channels.map((channel) => channel.base.canonical());
  for (const other of others) assert.equal(other, first);
  for (const channel of channels) assert.equal(channel.view().canonical(), first);
  return first;
}

test("two clients that edit at the same time end with the same bytes", async (t) => {
  const server = await Server.start(t);
  const [[, ana], [, bo]] = await Promise.all([server.join("dev:ana"), server.join("dev:bo")]);
  await ana.mutate(put("cards", "shared", { title: "start", votes: 0 })).outcome;
  await until("bo to see the card", () => bo.base.size === 1);
  const edits = [];
  for (let round = 0; round < 40; round += 1) {
    for (const [name, channel] of [["ana", ana], ["bo", bo]]) {
      edits.push(channel.mutate(set("cards", "shared", { title: `${name} ${round} – ü😀` }), inc("cards", "shared", "votes", 1)));
      edits.push(channel.mutate(put("cards", `${name}-${round}`, { done: false, ["z\u{10000}"]: 1, "z\uffff": [1.0, null] })));
      if (round % 4 === 3) edits.push(channel.mutate(unset("cards", `${name}-${round}`, "done"), del("cards", `${name}-${round - 1}`)));
    }
  }
  for (const edit of edits) assert.deepEqual(await edit.outcome, committed);
  await converged(ana, bo);
  assert.equal(ana.base.field("cards", "shared", "votes"), "80");
  assert.equal(ana.base.size, 1 + 2 * 40 - 2 * 10);
});

test("an edit shows at once; refused, it is rolled back with its code, and the next one stands", async (t) => {
  const server = await Server.start(t);
  const [, ana] = await server.join("dev:ana");
  await ana.mutate(put("cards", "c1", { title: "old", votes: 1 })).outcome;
  const batch = ana.mutate(set("cards", "c1", { title: "new" }), set("cards", "nope", { title: "x" }));
  const next = ana.mutate(inc("cards", "c1", "votes", 2));
  assert.equal(ana.view().field("cards", "c1", "title"), '"new"');
  assert.equal(ana.view().field("cards", "c1", "votes"), "3");
  const outcome = await batch.outcome;
  assert.equal(outcome.state, "rejected");
  assert.equal(outcome.code, NOT_FOUND);
  assert.deepEqual(await next.outcome, committed);
  assert.equal(ana.view().field("cards", "c1", "title"), '"old"');
  assert.equal(ana.view().field("cards", "c1", "votes"), "3");
});

test("a server that is killed and comes back keeps state and epoch, and its clients resume", async (t) => {
  const server = await Server.start(t);
  const [[, ana], [, bo]] = await Promise.all([server.join("dev:ana"), server.join("dev:bo")]);
  await ana.mutate(put("cards", "c1", { votes: 1 })).outcome;
  await converged(ana, bo);
  const { epoch } = ana.cursor;
  const before = [ana, bo].map((channel) => ({ ...channel.answers }));
  let lost = 0;
  for (const channel of [ana, bo]) channel.on("historyLost", () => (lost += 1));

  // Some of these are under way when the server dies, some come after.
  const edits = Array.from({ length: 30 }, () => [ana.mutate(inc("cards", "c1", "votes", 1)), bo.mutate(inc("cards", "c1", "votes", 1))]).flat();
  await edits[0].outcome;
  await server.kill();
  await until("the clients to notice", () => [ana, bo].every((channel) => channel.state === "offline"));
  edits.push(bo.mutate(inc("cards", "c1", "votes", 1)));
  await server.run();
  for (const edit of edits) assert.deepEqual(await edit.outcome, committed);

  await converged(ana, bo);
  assert.equal(ana.base.field("cards", "c1", "votes"), "62");
  assert.equal(ana.cursor.epoch, epoch);
  assert.equal(lost, 0);
  [ana, bo].forEach((channel, i) => {
    assert.ok(channel.answers.resume > before[i].resume);
    assert.equal(channel.answers.snapshot, before[i].snapshot);
  });
});

test("a server that lost its disk opens a new epoch; what was lost is told, what was pending is kept", async (t) => {
  const server = await Server.start(t);
  const [[, ana], [, bo]] = await Promise.all([server.join("dev:ana"), server.join("dev:bo")]);
  const first = ana.mutate(put("cards", "c1", { votes: 1 }));
  const refused = ana.mutate(set("cards", "nope", { votes: 1 }));
  const third = ana.mutate(put("cards", "c2", { votes: 1 }));
  await Promise.all([first.outcome, refused.outcome, third.outcome]);
  await converged(ana, bo);
  const { epoch } = ana.cursor;
  const crossings = [];
  const lost = [];
  ana.on("historyLost", (crossing) => crossings.push(crossing)).on("lost", (n) => lost.push(n));
  bo.on("historyLost", (crossing) => crossings.push(crossing));

  await server.kill();
  await server.wipe();
  await until("the clients to notice", () => [ana, bo].every((channel) => channel.state === "offline"));
  const kept = ana.mutate(put("cards", "c3", { votes: 3 }));
  await server.run();
  assert.deepEqual(await kept.outcome, committed);

  assert.equal(await converged(ana, bo), '[["cards","c3",[["votes","3"]]]]');
  assert.ok(ana.cursor.epoch > epoch);
  assert.equal(crossings.length, 2);
  for (const { from, to } of crossings) assert.ok(from.epoch === epoch && to.epoch > epoch);
  assert.deepEqual(lost, [first.n, third.n]);
});

test("a mutation that is pushed twice is applied once, over a new link too", async (t) => {
  const server = await Server.start(t);
  const [client, ana] = await server.join("dev:ana");
  await ana.mutate(put("cards", "c1", { votes: 0 })).outcome;
  const change = inc("cards", "c1", "votes", 1);
  const { n, outcome } = ana.mutate(change);
  await outcome;
  const push = { channel: ana.name, epoch: ana.cursor.epoch, firstN: n, low: n, items: [{ changes: [change] }] };
  for (const onNewLink of [false, true]) {
    if (onNewLink) {
      const back = once(client, "linked");
      client.cut();
      await back;
      await until("the channel to be live again", () => ana.state === "live");
    }
    const ack = nextFrame(client, "ack");
    client.send({ push });
    assert.equal((await ack).through, n);
  }
  assert.deepEqual(await ana.mutate(inc("cards", "c1", "votes", 10)).outcome, committed);
  assert.equal(ana.base.field("cards", "c1", "votes"), "11");
});

test("pushes that leave a gap, name another epoch or pile up refusals get need, stale_epoch and hold", async (t) => {
  const server = await Server.start(t);
  const [client, ana] = await server.join("dev:ana");
  const { epoch } = ana.cursor;
  const push = (fields) => client.send({ push: { channel: ana.name, epoch, low: 1, ...fields } });
  const item = { changes: [set("cards", "nope", { title: "x" })] };

  const need = nextFrame(client, "need");
  push({ firstN: 3, items: [item] });
  assert.equal((await need).n, 1);

  const stale = nextFrame(client, "staleEpoch");
  push({ epoch: epoch - 1, firstN: 1, items: [item] });
  assert.equal((await stale).epoch, epoch);
  await until("a new subscription", () => ana.state === "live");

  const hold = nextFrame(client, "hold");
  push({ firstN: 1, items: Array.from({ length: 65 }, () => item) });
  assert.equal((await hold).code, 4010);
});

test("one who comes late, or by a snapshot of another size, sees the same", async (t) => {
  const server = await Server.start(t);
  const [, ana] = await server.join("dev:ana");
  // Several parts, and names whose UTF-16 order is not their byte order.
  const edits = Array.from({ length: 60 }, (_, i) => ana.mutate(put("cards", `${i % 2 ? "\uffee" : "\u{1f600}"}${i}`, { body: "x".repeat(4_000), i })));
  for (const edit of edits) assert.deepEqual(await edit.outcome, committed);
  const [, late] = await server.join("dev:late");
  assert.deepEqual(late.answers, { resume: 0, snapshot: 1 });
  await converged(ana, late);
});

test("a reader that falls behind is told so, and catches up", async (t) => {
  // Small, so that it soon holds no more than one who does not read has missed.
  const server = await Server.start(t, { LIMITS_LOG_BYTES: 2 ** 20, LIMITS_QUEUE_BYTES: 2 ** 20 });
  const [slow, bo] = await server.join("dev:bo");
  let told = false;
  slow.on("frame", (kind) => (told ||= kind === "lagged"));
  // Written without a session, since nobody else has to read all that.
  const writer = new Doors(server.url, "dev:ana");
  const mine = { expectAuthor: (await writer.post({})).frames[0].frame.author };
  const body = "x".repeat(60_000);
  // Of several records: what is missed of one record is sent as its last state, and takes less room.
  const edit = (n) => pushOf(bo.cursor.epoch, n, put("cards", `big${n % 8}`, { body, n }));
  let n = 0;
  // What sockets' buffers hold is the system's matter: if all of it had room there, twice as much may not.
  for (let most = 120; !told; most *= 2) {
    slow.pause();
    while (n < most) {
      const { frames } = await writer.post(mine, edit(n + 1), edit(n + 2));
      n += 2;
      assert.deepEqual(frames.map(({ kind, frame }) => [kind, frame.through]), [["ack", n - 1], ["ack", n]]);
    }
    slow.resume();
    // Behind the entry that opened the log.
    await until("it to be at the head", () => bo.state === "live" && bo.cursor.seq === n + 1);
  }
  const [, late] = await server.join("dev:late");
  await converged(bo, late);
  assert.equal(bo.base.field("cards", `big${n % 8}`, "n"), String(n));
});

test("presence appears and goes, by word and with who leaves", async (t) => {
  // Whoever says goodbye is gone at once: nobody here waits until a grace is over.
  const server = await Server.start(t, { PRESENCE_GRACE_MS: 2 * PATIENCE_MS });
  const [[, ana], [link, bo]] = await Promise.all([server.join("dev:ana"), server.join("dev:bo")]);
  const seen = () => [...ana.peers.values()];
  bo.setPresence('{"cursor":1}');
  await until("bo to appear", () => seen().length === 1);
  assert.deepEqual(seen(), [{ principal: "bo", data: '{"cursor":1}' }]);
  bo.setPresence('{"cursor":2}');
  await until("bo to move", () => seen()[0].data === '{"cursor":2}');
  const [, late] = await server.join("dev:late");
  await until("a late one to see bo", () => late.peers.size === 1);
  bo.setPresence(undefined);
  await until("bo to go", () => seen().length === 0);
  bo.setPresence('{"cursor":3}');
  await until("bo to be back", () => seen().length === 1);
  link.close();
  await until("bo's end to be seen", () => seen().length === 0);
});

test("a drain says goaway; the clients leave, the server ends well, and they come back to the next one", async (t) => {
  const server = await Server.start(t);
  const [client, ana] = await server.join("dev:ana");
  await ana.mutate(put("cards", "c1", { votes: 1 })).outcome;
  const goaway = nextFrame(client, "goaway");
  const ended = server.drain();
  const { byMs, windowMs } = await goaway;
  assert.ok(byMs > 0 && windowMs <= byMs, `${windowMs} within ${byMs}`);
  assert.equal(await ended, 0);
  await until("the client to have left", () => !client.online);
  await server.run();
  assert.deepEqual(await ana.mutate(inc("cards", "c1", "votes", 1)).outcome, committed);
  assert.equal(ana.base.field("cards", "c1", "votes"), "2");
});

test("a token that is not accepted ends the client; a channel with a bad name ends itself alone", async (t) => {
  const server = await Server.start(t);
  const stranger = server.client("stranger");
  const code = await new Promise((resolve) => stranger.once("refused", resolve));
  assert.equal(code, 2001);

  const [client, ana] = await server.join("dev:ana");
  const bad = client.channel("no-namespace");
  await until("the bad name to be refused", () => bad.state === "failed");
  assert.deepEqual(await ana.mutate(put("cards", "c1", {})).outcome, committed);
});
