// Chromium's own reader of server-sent events, EventSource: it bears out our vectors, and it reads what the server sends.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { launch } from "./support/browser.js";
import { Captured, PlainServer, Replay, cuts } from "./support/event-stream.js";
import { fixtures } from "./support/paths.js";

let browser;
let replay;
let page;
before(async () => {
  browser = await launch();
  replay = await Replay.start();
  page = await browser.newPage();
  await page.goto(replay.url);
});
after(async () => {
  await browser?.close();
  await replay?.stop();
});

/** Where Chromium does not do what the standard says: a line end right behind the BOM is no line end to it. */
const DIFFERENCES = { "bom.json: a BOM before a blank line": [] };

test("the vectors say what Chromium says", { timeout: 300_000 }, async () => {
  const dir = fixtures("sse");
  const vectors = readdirSync(dir)
    .filter((name) => name.endsWith(".json"))
    .flatMap((file) => JSON.parse(readFileSync(`${dir}/${file}`, "utf8")).map((vector) => ({ file, ...vector })));
  assert.ok(vectors.length >= 120, `only ${vectors.length}`);
  const types = [...new Set(vectors.flatMap(({ events }) => events.map(({ type = "message" }) => type)))];
  const streams = vectors.flatMap(({ file, name, stream = "", hex, events }) => {
    const bytes = hex === undefined ? Buffer.from(stream) : Buffer.from(hex, "hex");
    const known = DIFFERENCES[`${file}: ${name}`];
    const expected = known ?? events.map(({ type = "message", data, id = "" }) => [type, data, id]);
    // Single bytes are as many packets: enough of them with the short ones.
    return cuts(bytes, bytes.length < 200 ? [1] : []).map((pieces) => ({
      what: `${file}: ${name}, in ${pieces.length} pieces`,
      pieces,
      expected,
    }));
  });
  const found = await replay.read(
    page,
    streams.map(({ pieces }) => pieces),
    types,
  );
  for (const [at, { what, expected }] of streams.entries()) assert.deepEqual(found[at], expected, what);
});

/** Values with the line ends that a stream has to carry in another way. */
const VALUES = ['"plain"', '{"a":\n1}', '[\r1]', '["\u2028", "😀"]'];

const JSON_KIND = "application/vnd.tidewire.v1+json";
const PROTO_KIND = "application/vnd.tidewire.v1+proto";

/** The events in what a server has written, which writes them plainly. */
function written(bytes) {
  const blocks = bytes.toString().split("\n\n").slice(0, -1);
  return blocks
    .filter((block) => !block.startsWith(":"))
    .map((block) => {
      const lines = block.split("\n");
      const named = lines[0].startsWith("event: ") ? lines.shift().slice("event: ".length) : "message";
      return [named, lines.map((line) => line.slice("data: ".length)).join("\n"), ""];
    });
}

test("what the server streams, EventSource reads as it was meant", { timeout: 300_000 }, async (t) => {
  const server = await PlainServer.start();
  t.after(() => server.stop());
  const hello = { type: "hello", version: 1, token: "dev:ana", conn: 1, client: "a1".repeat(16), max_frame: 1 << 20 };
  const subscribe = { type: "subscribe", channel: "board:main" };
  const stream = await Captured.post(`${server.url}/v1/sse`, JSON_KIND, JSON.stringify([hello, subscribe]));
  t.after(() => stream.end());
  assert.equal(stream.headers["content-type"], "text/event-stream");
  const epoch = await stream.until("the channel's epoch", (bytes) =>
    /"type":"snapshot_begin".*?"epoch":(\d+)/.exec(bytes.toString())?.[1],
  );
  const author = /"author":"([0-9a-f]+)"/.exec(stream.bytes.toString())[1];
  for (const [at, value] of VALUES.entries()) {
    // Values travel as they stand: the text is put together by hand.
    const fields = `[{"name":"v","value":${value}}]`;
    const put = `{"put":{"collection":"c","id":"${at}","fields":${fields}}}`;
    const push = `{"type":"push","channel":"board:main","epoch":${epoch},"first_n":${at + 1},"low":1,"items":[{"changes":[${put}]}]}`;
    const body = `[${JSON.stringify({ ...hello, expect_author: author })},${push}]`;
    const posted = await Captured.post(`${server.url}/v1/push`, JSON_KIND, body);
    await posted.until("an ack", (bytes) => bytes.includes('"ack"'));
  }
  const decoded = ([type, data]) => (type === "b64" ? Buffer.from(data, "base64").toString() : data);
  const meant = () => written(stream.bytes).map(decoded);
  await stream.until("all values", () => VALUES.every((value) => meant().some((text) => text.includes(value))));
  const bytes = stream.bytes;
  const expected = written(bytes);
  assert.ok(expected.some(([type]) => type === "b64"), "a CR goes by base64");
  assert.ok(expected.some(([, data]) => data.includes("\n")), "an LF stays");
  for (const found of await replay.read(page, cuts(bytes, [1, 7]), ["message", "b64"])) {
    assert.deepEqual(found, expected);
    for (const text of found.map(decoded)) JSON.parse(text);
  }
});

test("and so it does with Protobuf, as base64", { timeout: 300_000 }, async (t) => {
  const server = await PlainServer.start();
  t.after(() => server.stop());
  // hello {version: 1, token: "dev:ana", conn: 1, client: 16 bytes}, by hand: frame 1 of a client's message.
  const token = Buffer.from("dev:ana");
  const hello = Buffer.concat([
    Buffer.from([0x08, 1, 0x12, token.length]),
    token,
    Buffer.from([0x18, 1, 0x22, 16]),
    Buffer.alloc(16, 7),
  ]);
  const message = Buffer.concat([Buffer.from([0x0a, hello.length + 2, 0x0a, hello.length]), hello]);
  const stream = await Captured.post(`${server.url}/v1/sse`, PROTO_KIND, message);
  t.after(() => stream.end());
  await stream.until("a welcome", (bytes) => written(bytes).length > 0);
  const bytes = stream.bytes;
  const [found] = await replay.read(page, [[bytes]], ["message"]);
  assert.deepEqual(found, written(bytes));
  for (const [, data] of found) {
    assert.equal(Buffer.from(data, "base64").toString("base64"), data);
    assert.ok(Buffer.from(data, "base64").includes("ana"), "a welcome names its principal");
  }
});
