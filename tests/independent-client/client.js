// A tidewire client written from docs/protocol.md and tidewire.proto alone: the link and its life.
// It keeps everything in memory and shows the whole protocol, not how to make it fast.

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import WebSocket from "ws";
import { Channel } from "./channel.js";
import { proto } from "./codec.js";

const MAX_FRAME = 1024 * 1024;
const CONNECT_MS = 15_000;
/** Silence beyond the server's heartbeat. */
const GRACE_MS = 10_000;
const STABLE_MS = 10_000;
const TICK_MS = 100;
/** Codes after which a new link may help (§12, "retry"). */
const LATER = new Set([1006, 1007, 1009, 1010, 2002, 2003, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4009, 4010]);

/** Events: frame(kind, frame), welcome, disconnected(close code), goaway, fault(error), refused(code, detail). */
export class Client extends EventEmitter {
  /** The last `welcome`. */
  welcome = null;
  online = false;
  #url;
  #token;
  #id;
  #backoff;
  #codec;
  #channels = new Map();
  #socket = null;
  #conn = 0;
  #attempt = 0;
  #welcomedAt = 0;
  #heardAt = 0;
  #dialAt = 0;
  #leave = null;
  #clock;

  /** `url` is the server's http(s) address; `token` opaque. */
  constructor(url, token, { id = randomBytes(16), backoff = { base: 1_000, cap: 30_000 }, codec = proto } = {}) {
    super();
    this.#url = `${url.replace(/^http/, "ws")}/v1/ws`;
    this.#token = token;
    this.#id = id;
    this.#backoff = backoff;
    this.#codec = codec;
    this.#dial();
    this.#clock = setInterval(() => this.#tick(Date.now()), TICK_MS);
  }

  get author() {
    return this.welcome.author;
  }

  get limits() {
    return this.welcome.limits;
  }

  /** After `goaway` nothing new is pushed on this link. */
  get leaving() {
    return this.#leave !== null;
  }

  channel(name) {
    if (!this.#channels.has(name)) {
      const channel = new Channel(name);
      this.#channels.set(name, channel);
      if (this.online) channel.connected(this);
    }
    return this.#channels.get(name);
  }

  close() {
    clearInterval(this.#clock);
    this.#dialAt = 0;
    this.#socket?.close(1000);
    this.#drop(1000, { again: false });
  }

  /** Breaks the link without a word, as a network does. */
  cut() {
    this.#socket?.terminate();
  }

  /** Stops and goes on reading: what the server sends meanwhile piles up on its side. */
  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  send(frame) {
    this.#socket.send(this.#codec.encode(frame));
  }

  sizeOf(item) {
    return this.#codec.sizeOf(item);
  }

  #dial() {
    this.#conn += 1;
    this.#heardAt = Date.now();
    const socket = new WebSocket(this.#url, this.#codec.subprotocol, { maxPayload: MAX_FRAME, perMessageDeflate: false });
    this.#socket = socket;
    const mine = (handle) => (...args) => this.#socket === socket && handle(...args);
    socket.on("open", mine(() => {
      this.send({ hello: { version: 1, token: this.#token, conn: this.#conn, client: this.#id, maxFrame: MAX_FRAME } });
    }));
    socket.on("message", mine((bytes) => this.#take(bytes)));
    socket.on("close", mine((code) => this.#drop(code)));
    socket.on("error", () => {}); // `close` follows
  }

  #take(bytes) {
    this.#heardAt = Date.now();
    try {
      for (const { kind, frame } of this.#codec.decode(bytes)) {
        this.#receive(kind, frame);
        if (!this.#socket) return;
      }
    } catch (error) {
      this.emit("fault", error);
      this.#socket?.close(1002);
      this.#drop(1002);
    }
  }

  #receive(kind, frame) {
    if (kind === "welcome") return this.#enter(frame);
    if (kind === "error" && frame.fatal) return this.#fail(frame);
    if (!this.online) throw new Error(`${kind} before welcome`);
    this.emit("frame", kind, frame);
    if (kind === "heartbeat") {
      this.send({ pong: { t: frame.serverMs } });
      for (const { channel, cursor } of frame.heads) this.#channels.get(channel)?.handleHead(cursor);
    } else if (kind === "goaway") {
      const after = Math.random() * frame.windowMs;
      this.#leave = { at: Date.now() + after, by: Date.now() + Math.max(after, frame.byMs) };
      this.emit("goaway", frame);
    } else if (kind === "error" && frame.channel === undefined) this.emit("fault", new Error(`${frame.code} ${frame.detail}`));
    else if (frame.channel !== undefined) this.#channels.get(frame.channel)?.receive(kind, frame);
  }

  #enter(welcome) {
    if (!welcome.limits || welcome.author.length !== 16) throw new Error("welcome lacks a field");
    if (this.welcome && !this.welcome.author.equals(welcome.author)) throw new Error("the outbox belongs to somebody else");
    this.welcome = welcome;
    this.online = true;
    this.#welcomedAt = Date.now();
    this.emit("welcome", welcome);
    for (const channel of this.#channels.values()) channel.connected(this);
  }

  #fail({ code, detail }) {
    this.emit("refused", code, detail);
    if (LATER.has(code)) return; // the close that follows leads to the next try
    clearInterval(this.#clock);
    this.#socket.close(1000);
    this.#drop(1000, { again: false });
  }

  #drop(code, { again = true } = {}) {
    if (!this.#socket) return;
    this.#socket = null;
    this.#leave = null;
    const now = Date.now();
    if (this.online && now - this.#welcomedAt > STABLE_MS) this.#attempt = 0;
    this.online = false;
    for (const channel of this.#channels.values()) channel.disconnected();
    const { base, cap } = this.#backoff;
    if (again) this.#dialAt = now + Math.random() * Math.min(cap, base * 2 ** this.#attempt++);
    this.emit("disconnected", code);
  }

  #tick(now) {
    if (this.#dialAt && now >= this.#dialAt) {
      this.#dialAt = 0;
      this.#dial();
    }
    if (this.#socket && now - this.#heardAt > (this.online ? this.welcome.heartbeatMs + GRACE_MS : CONNECT_MS)) this.#socket.terminate();
    const pushing = [...this.#channels.values()].some((channel) => channel.pushing);
    if (this.#leave && now >= (pushing ? this.#leave.by : this.#leave.at)) {
      this.#socket.close(1000);
      this.#drop(1000);
    }
    if (this.online) for (const channel of this.#channels.values()) channel.tick(now);
  }
}
