// However the network cuts a stream, the same events come out.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventStream } from "./transports/event-stream.js";

function read(chunks) {
  const events = [];
  const stream = new EventStream((...event) => events.push(event));
  for (const chunk of chunks) stream.take(chunk);
  return events;
}

test("events, comments and every end of line, in one piece, cut anywhere and byte by byte", () => {
  const text = ": hello\n\ndata: [1,\ndata:  2]\n\nevent: b64\r\ndata: eA==\r\n\r\ndata:ü😀\rid: 7\rother\r\rdata\n\nevent: empty\n\ndata: cut off";
  const bytes = Buffer.from(text);
  const events = [["", "[1,\n 2]"], ["b64", "eA=="], ["", "ü😀"], ["", ""]];
  assert.deepEqual(read([bytes]), events);
  for (let at = 0; at <= bytes.length; at += 1) assert.deepEqual(read([bytes.subarray(0, at), bytes.subarray(at)]), events);
  assert.deepEqual(read([...bytes].map((byte) => Buffer.of(byte))), events);
});

test("an event without an end is refused once it is too large", () => {
  const stream = new EventStream(() => {}, 100);
  stream.take(Buffer.from("data: x\n\n".repeat(100)));
  assert.throws(() => stream.take(Buffer.from(`data: ${"x".repeat(200)}`)));
  assert.throws(() => stream.take(Buffer.from("data: x\n".repeat(200))));
});
