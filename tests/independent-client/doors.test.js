// What each door of §15 answers, request by request.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { inc, put } from "./changes.js";
import { json, proto } from "./codec.js";
import { CHANNEL, Doors, Stream, push, subscribe, unsubscribe } from "./doors.js";
import { Server, codec, until } from "./support.js";

const CODE = {
  malformed: 1001,
  tooLarge: 1002,
  unknown: 1004,
  unexpected: 1005,
  unsupported: 1008,
  goingAway: 1010,
  unauthenticated: 2001,
  wrongPrincipal: 2006,
  moved: 4002,
  rejectionsFull: 4010,
};
const kinds = ({ frames }) => frames.map(({ kind }) => kind);
const only = ({ frames }) => (assert.equal(frames.length, 1), frames[0].frame);
/** What a refusal says: status and code. */
const said = ({ status, code }) => [status, code];

test("pushes need no session: whose they are counts, and what comes twice is answered again", async (t) => {
  const server = await Server.start(t);
  const [, reader] = await server.join("dev:ana");
  const { epoch } = reader.cursor;
  const store = new Doors(server.url, "dev:ana");

  const welcome = only(await store.post({}));
  assert.equal(welcome.session.length, 0);
  const mine = { expectAuthor: welcome.author };
  const first = push(epoch, 1, put("cards", "c1", { votes: 0 }));
  assert.deepEqual(said(await store.post({}, first)), [400, CODE.unexpected]);
  const other = new Doors(server.url, "dev:bo");
  other.id = store.id;
  assert.deepEqual(said(await other.post(mine, first)), [403, CODE.wrongPrincipal]);
  assert.deepEqual(said(await store.post({ expectAuthor: randomBytes(16) }, first)), [403, CODE.wrongPrincipal]);

  const answers = [];
  const votes = push(epoch, 2, inc("cards", "c1", "votes", 1));
  for (const frames of [[first], [votes], [first, votes], [votes]]) answers.push(await store.post(mine, ...frames));
  assert.deepEqual(answers.map((answer) => answer.frames.map(({ frame }) => frame.through)), [[1], [2], [1, 2], [2]]);
  await until("the reader to see one vote", () => reader.base.field("cards", "c1", "votes") === "1");
  assert.equal(reader.cursor.seq, 3);
  assert.deepEqual(said(await store.post(mine, subscribe)), [400, CODE.unexpected]);
});

test("a POST has one answer for each push that has one: ack, need, stale_epoch, hold and errors", async (t) => {
  const server = await Server.start(t);
  const [, reader] = await server.join("dev:ana");
  const { epoch } = reader.cursor;
  const store = new Doors(server.url, "dev:ana");
  const mine = { expectAuthor: only(await store.post({})).author };
  assert.deepEqual(kinds(await store.post(mine, push(epoch, 1), push(epoch, 2), push(epoch, 3))), ["ack", "ack", "ack"]);
  const need = await store.post(mine, push(epoch, 7));
  assert.deepEqual([kinds(need), need.frames[0].frame.n], [["need"], 4]);
  const stale = await store.post(mine, push(epoch - 1, 4));
  assert.deepEqual([kinds(stale), stale.frames[0].frame.epoch], [["staleEpoch"], epoch]);
  const elsewhere = await store.post(mine, { push: { ...push(epoch, 4).push, channel: "no-namespace" } }, push(epoch, 4));
  assert.deepEqual(kinds(elsewhere).sort(), ["ack", "error"]);
  const piled = push(epoch, 5);
  piled.push.items = Array.from({ length: 65 }, () => ({ changes: [inc("cards", "nope", "votes", 1)] }));
  const held = await store.post(mine, piled);
  assert.equal(held.frames.find(({ kind }) => kind === "hold").frame.code, CODE.rejectionsFull);
});

test("each number of a poll is answered once; a copy is 409 and changes nothing", async (t) => {
  const server = await Server.start(t);
  const [, writer] = await server.join("dev:bo");
  const ana = new Doors(server.url, "dev:ana");
  assert.deepEqual(kinds(await ana.open(subscribe)), ["welcome"]);
  assert.equal((await ana.pollFor("snapshotBegin")).head.seq, writer.cursor.seq);

  // The message of the one that is held is not lost to copies of others, nor to numbers that skip.
  const held = ana.poll();
  const { number } = ana;
  for (const wrong of [number - 1, number + 5]) assert.deepEqual(said(await ana.poll(wrong)), [409, CODE.unexpected]);
  const edit = writer.mutate(put("cards", "c1", {}));
  const { frames } = await held;
  assert.deepEqual(frames.filter(({ kind }) => kind === "patch").map(({ frame }) => frame.to), [2]);
  assert.deepEqual(said(await ana.poll(number)), [409, CODE.unexpected]);
  await edit.outcome;
});

test("a poll that is held ends empty when the next comes; Prefer asks for no hold at all", async (t) => {
  const server = await Server.start(t);
  const ana = new Doors(server.url, "dev:ana");
  await ana.open();
  const prefer = { headers: { prefer: "wait=0" } };
  assert.deepEqual((await ana.poll(undefined, prefer)).frames, []);
  // Of two copies one is refused, which says that the other one is held.
  const copies = [ana.poll(), ana.poll(ana.number)];
  const [refused, held] = await Promise.race(copies.map(async (copy, i) => [await copy, copies[1 - i]]));
  assert.deepEqual(said(refused), [409, CODE.unexpected]);
  const next = ana.poll();
  assert.deepEqual((await held).frames, []);
  await ana.say({ ping: { t: 5 } });
  assert.equal(only(await next).t, 5);
});

test("a session is for its principal and its codec; one that nobody knows is 410", async (t) => {
  const server = await Server.start(t);
  const ana = new Doors(server.url, "dev:ana");
  await ana.open(subscribe);
  const { handle } = ana;
  const bo = new Doors(server.url, "dev:bo");
  assert.deepEqual(said(await bo.post({ session: handle }, unsubscribe)), [403, CODE.wrongPrincipal]);
  const other = codec === proto ? json : proto;
  assert.deepEqual(said(await ana.ask("/v1/push", [ana.hello({ session: handle }), unsubscribe], { speaks: other })), [415, CODE.unsupported]);
  for (const session of [Buffer.concat([handle.subarray(0, 4), randomBytes(16)]), Buffer.concat([Buffer.from([0, 0, 0, 7]), handle.subarray(4)])]) {
    assert.deepEqual(said(await ana.post({ session }, unsubscribe)), [410, CODE.moved]);
    assert.deepEqual(said(await ana.ask("/v1/poll", [ana.hello({ session, poll: 2 })])), [410, CODE.moved]);
  }
  // None of them took anything down.
  await ana.pollFor("snapshotBegin");
});

test("a copy of a POST that was overtaken hands nothing to the session, and its pushes count", async (t) => {
  const server = await Server.start(t);
  const ana = new Doors(server.url, "dev:ana");
  await ana.open();
  assert.deepEqual((await ana.sayAs(1, subscribe)).frames, []);
  const { epoch } = (await ana.pollFor("snapshotBegin")).cursor;
  await ana.sayAs(5, { ping: { t: 1 } });
  await ana.pollFor("pong");
  for (const late of [4, 5, 1]) {
    const { status, frames } = await ana.sayAs(late, unsubscribe, push(epoch, 1));
    assert.deepEqual([status, frames.map(({ kind }) => kind)], [200, ["ack"]]);
  }
  assert.equal((await ana.pollFor("patch")).to, 2);
  // It is subscribed still: a patch comes for what another one does.
  const [, bo] = await server.join("dev:bo");
  await bo.mutate(put("cards", "x", {})).outcome;
  assert.equal((await ana.pollFor("patch")).to, 3);
  // One that is newer counts, and one that is not counted.
  await ana.sayAs(6, { ping: { t: 6 } });
  assert.equal((await ana.pollFor("pong")).t, 6);
  await ana.sayAs(0, { ping: { t: 7 } });
  assert.equal((await ana.pollFor("pong")).t, 7);
});

test("what is no request of the protocol is refused with a code and concerns no session", async (t) => {
  const server = await Server.start(t);
  const ana = new Doors(server.url, "dev:ana");
  await ana.open(subscribe);
  const { epoch } = (await ana.pollFor("snapshotBegin")).cursor;
  const hello = ana.hello({ session: ana.handle });
  const large = Array.from({ length: 40 }, (_, i) => push(epoch, i + 1, put("cards", "x", { text: "x".repeat(4_000) })));
  const refusals = [
    ["/v1/push", [], 400, CODE.unexpected],
    ["/v1/push", [push(epoch, 1)], 400, CODE.unexpected],
    ["/v1/push", [hello, hello], 400, CODE.unexpected],
    ["/v1/push?token=x", [hello], 400, CODE.malformed],
    ["/v1/poll", [ana.hello({})], 400, CODE.unexpected],
    ["/v1/poll", [ana.hello({ poll: 2 })], 400, CODE.unexpected],
    ["/v1/poll", [ana.hello({ poll: 1, session: ana.handle })], 400, CODE.unexpected],
    ["/v1/push", [ana.hello({ token: "x" })], 401, CODE.unauthenticated],
    ["/v1/poll", [ana.hello({ token: "x", poll: 1 })], 401, CODE.unauthenticated],
    ["/v1/push", [hello, ...large], 413, CODE.tooLarge],
  ];
  for (const [door, frames, ...expected] of refusals) assert.deepEqual(said(await ana.ask(door, frames)), expected, door);

  const raw = async (options, door = "/v1/push") => {
    const response = await fetch(`${server.url}${door}`, options);
    // The request's codec is not known: JSON.
    return [response.status, json.decode(await response.text())[0].frame.code];
  };
  assert.deepEqual(await raw({}), [405, CODE.unsupported]);
  assert.deepEqual(await raw({ method: "POST", body: "[]", headers: { "content-type": "application/json" } }), [415, CODE.unsupported]);
  assert.deepEqual(await raw({ method: "POST", body: "[]", headers: { "content-type": `${json.mediaType}; charset=utf-8` } }), [415, CODE.unsupported]);
  assert.deepEqual(await raw({ method: "POST", body: "[", headers: { "content-type": json.mediaType } }), [400, CODE.malformed]);
  assert.deepEqual(await raw({ method: "POST", body: '[{"type":"later"}]', headers: { "content-type": json.mediaType } }), [400, CODE.unknown]);

  // A push that breaks its contract is a fatal error in a 200, and the session lives.
  const broken = only(await ana.say({ push: { ...push(epoch, 1).push, low: 0 } }));
  assert.deepEqual([broken.code, broken.fatal], [CODE.unexpected, true]);
  await ana.say({ ping: { t: 3 } });
  assert.equal((await ana.pollFor("pong")).t, 3);
});

test("a stream begins with a comment of 2 KiB before the token is looked at, and a fatal error ends it", async (t) => {
  const server = await Server.start(t);
  const stranger = new Stream(new Doors(server.url, "stranger"));
  await until("the stream to end", () => stranger.ended);
  assert.equal(stranger.response.status, 200);
  const headers = ["content-type", "cache-control", "x-accel-buffering"].map((name) => stranger.response.headers.get(name));
  assert.deepEqual(headers, ["text/event-stream", "no-store, no-transform", "no"]);
  assert.ok(/^:[^\n]*\n\n/.exec(stranger.text)[0].length >= 2_048);
  assert.deepEqual(stranger.frames.map(({ kind, frame }) => [kind, frame.code, frame.fatal]), [["error", CODE.unauthenticated, true]]);
});

test("what follows hello in the body that opens a stream is answered on it; its end ends the session", async (t) => {
  const server = await Server.start(t);
  const ana = new Doors(server.url, "dev:ana");
  const stream = new Stream(ana, subscribe, { ping: { t: 1 } });
  await until("the snapshot", () => stream.find("snapshotEnd") && stream.find("pong"));
  assert.equal(stream.frames[0].kind, "welcome");
  ana.take(stream.frames[0]);
  await ana.say({ ping: { t: 2 } });
  await until("the answer to a POST", () => stream.frames.some(({ kind, frame }) => kind === "pong" && frame.t === 2));
  // A stream is not polled.
  assert.deepEqual(said(await ana.poll(2)), [409, CODE.unexpected]);
  stream.close();
  await until("the session to be gone", async () => (await ana.say({ ping: { t: 3 } })).status === 410);
});

test("values with line feeds and carriage returns come through a stream as they are", async (t) => {
  const server = await Server.start(t);
  const reader = new Stream(new Doors(server.url, "dev:ana"), subscribe);
  await until("the reader to be there", () => reader.find("snapshotEnd"));
  const { epoch } = reader.find("snapshotBegin").cursor;
  const bo = new Doors(server.url, "dev:bo");
  const mine = { expectAuthor: only(await bo.post({})).author };
  const texts = ['{"a":\n[1,\n2]}', '{"a":\r\n[1,\r2]}', '"data: \\n"'];
  for (const [i, text] of texts.entries()) {
    const change = { put: { collection: "cards", id: "c", fields: [{ name: "v", value: Buffer.from(text) }] } };
    // In Protobuf, whose values are the text itself.
    const frames = [{ ...bo.hello(mine) }, push(epoch, i + 1, change)];
    assert.deepEqual(kinds(await bo.ask("/v1/push", frames, { speaks: proto })), ["ack"]);
  }
  const patches = await until("all patches", () => {
    const found = reader.frames.filter(({ kind }) => kind === "patch");
    return found.flatMap(({ frame }) => frame.ops).length === texts.length && found;
  });
  const values = patches.flatMap(({ frame }) => frame.ops).map(({ put }) => put.fields[0].value.toString());
  if (codec === proto) assert.deepEqual(values, texts);
  else {
    // A JSON parser has taken the spaces, so the message's own text is looked at.
    const messages = reader.events.map(({ type, data }) => codec.fromEvent(type, data));
    for (const text of texts) assert.ok(messages.some((message) => message.includes(text)), text);
    for (const { type, data } of reader.events) assert.equal(type === "b64", codec.fromEvent(type, data).includes("\r"));
  }
});

test("a server that drains opens no session, says when to come again, and serves those that are open", async (t) => {
  const server = await Server.start(t);
  const ana = new Doors(server.url, "dev:ana");
  await ana.open(subscribe);
  const { epoch } = (await ana.pollFor("snapshotBegin")).cursor;
  const gone = server.drain();
  assert.ok((await ana.pollFor("goaway")).byMs > 0);
  const late = new Doors(server.url, "dev:late");
  for (const answer of [await late.ask("/v1/poll", [late.hello({ poll: 1 })]), await late.ask("/v1/sse", [late.hello({})])]) {
    assert.deepEqual(said(answer), [503, CODE.goingAway]);
    assert.ok(Number(answer.headers.get("retry-after")) >= 0);
    assert.ok(answer.frames[0].frame.retryMs <= 1_000 * Number(answer.headers.get("retry-after")));
  }
  assert.deepEqual(kinds(await ana.say(push(epoch, 1))), ["ack"]);
  assert.equal((await ana.pollFor("patch")).to, 2);
  await server.kill();
  await gone;
});

test("a server without sessions over HTTP says so at each door, and in the welcome of a WebSocket", async (t) => {
  const server = await Server.start(t, { ENABLE_HTTP_FALLBACK: false });
  const ana = new Doors(server.url, "dev:ana");
  for (const door of ["/v1/sse", "/v1/poll", "/v1/push"]) assert.deepEqual(said(await ana.ask(door, [ana.hello({ poll: 1 })])), [404, CODE.unsupported]);
  const [client] = await server.join("dev:ana");
  assert.equal(client.welcome.flags & 1, 0);
});
