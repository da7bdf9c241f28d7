// The doors of §15 one request at a time, also as no client would ask.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { put } from "./changes.js";
import { codec } from "./support.js";
import { EventStream } from "./transports/event-stream.js";
import { bytesOf, request } from "./transports/request.js";

export const CHANNEL = "board:main";
export const subscribe = { subscribe: { channel: CHANNEL, maxEpoch: 0 } };
export const unsubscribe = { unsubscribe: { channel: CHANNEL } };

export class Doors {
  welcome;
  handle;
  id = randomBytes(16);
  /** Of the newest poll. */
  number = 0;
  #posts = 0;

  constructor(url, token) {
    Object.assign(this, { url, token });
  }

  hello(fields) {
    return { hello: { version: 1, token: this.token, conn: 1, client: this.id, maxFrame: 0, ...fields } };
  }

  /** The answer of any door: status, headers and frames. */
  async ask(door, frames, { speaks = codec, headers } = {}) {
    const response = await request(`${this.url}${door}`, speaks, speaks.encode(...frames), { headers });
    const found = speaks.decode(await bytesOf(response));
    if (response.status !== 200) assert.deepEqual([found.length, found[0]?.kind, found[0]?.frame.fatal], [1, "error", true]);
    return { status: response.status, headers: response.headers, frames: found, code: found[0]?.frame.code };
  }

  take({ frame }) {
    this.welcome = frame;
    this.handle = Buffer.alloc(20);
    this.handle.writeUInt32BE(frame.home);
    frame.session.copy(this.handle, 4);
  }

  /** Opens a session of polls; what follows `hello` goes along. */
  async open(...frames) {
    const answer = await this.ask("/v1/poll", [this.hello({ poll: (this.number = 1) }), ...frames]);
    this.take(answer.frames[0]);
    return answer;
  }

  /** The next poll, or the one of this number. */
  poll(number = ++this.number, options) {
    return this.ask("/v1/poll", [this.hello({ poll: number, session: this.handle })], options);
  }

  /** Polls until a message has a frame of this kind, and returns it. */
  async pollFor(kind) {
    for (;;) {
      const found = (await this.poll()).frames.find((frame) => frame.kind === kind);
      if (found) return found.frame;
    }
  }

  /** A counted POST of the session. */
  say(...frames) {
    return this.sayAs(++this.#posts, ...frames);
  }

  sayAs(number, ...frames) {
    return this.ask("/v1/push", [this.hello({ poll: number, session: this.handle }), ...frames]);
  }

  /** A POST without a session. */
  post(fields, ...frames) {
    return this.ask("/v1/push", [this.hello(fields), ...frames]);
  }
}

/** A push of one mutation, which puts the record c`n` unless told otherwise. */
export function push(epoch, n, change = put("cards", `c${n}`, { n }), low = 1) {
  return { push: { channel: CHANNEL, epoch, firstN: n, low, items: [{ changes: [change] }] } };
}

/** An open stream as it comes: its first byte, its events, its end. */
export class Stream {
  text = "";
  events = [];
  frames = [];
  ended = false;
  #abort = new AbortController();

  constructor(doors, ...frames) {
    this.#read(doors, codec.encode(doors.hello({}), ...frames)).catch(() => {}).finally(() => (this.ended = true));
  }

  find(kind) {
    return this.frames.find((frame) => frame.kind === kind)?.frame;
  }

  close() {
    this.#abort.abort();
  }

  async #read(doors, body) {
    this.response = await request(`${doors.url}/v1/sse`, codec, body, { signal: this.#abort.signal });
    const events = new EventStream((type, data) => {
      this.events.push({ type, data });
      this.frames.push(...codec.decode(codec.fromEvent(type, data)));
    });
    for await (const chunk of this.response.body) {
      this.text += Buffer.from(chunk);
      events.take(chunk);
    }
  }
}
