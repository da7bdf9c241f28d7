// A tidewire client written from docs/protocol.md and tidewire.proto alone: the link and its life. It keeps
// everything in memory and shows what the protocol asks of a client, not how to make it fast.

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import WebSocket from "ws";
import { Channel } from "./channel.js";
import { proto } from "./codec.js";

const MAX_FRAME = 1024 * 1024;
const CONNECT_MS = 15_000;
const GRACE_MS = 10_000; // of silence beyond the server's heartbeat
const STABLE_MS = 10_000;
/** Codes after which a new link may help (§12, "retry"). */
const LATER = new Set([1006, 1007, 1009, 1010, 2002, 2003, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4009, 4010]);

/** Events: frame(kind, frame), fault(error), refused(code, detail). */
export class Client extends EventEmitter {
  /** The last `welcome`. */
  welcome = null;
  online = false;
  /** Set by `goaway`, after which nothing new is pushed on this link. */
  leave = null;
  #channels = new Map();
  #socket = null;
  #conn = 0;
  #attempt = 0;
  #heardAt = 0;
  #welcomedAt = 0;
  #dialAt = 0;

  /** `url` is the server's http(s) address; `token` opaque. */
  constructor(url, token, { id = randomBytes(16), backoff = { base: 1_000, cap: 30_000 }, codec = proto } = {}) {
    super();
    Object.assign(this, { url: `${url.replace(/^http/, "ws")}/v1/ws`, token, id, backoff, codec });
    this.#dial();
    this.clock = setInterval(() => this.#tick(Date.now()), 100);
  }

  channel(name) {
    const channel = this.#channels.get(name) ?? new Channel(name, this);
    if (!this.#channels.has(name) && this.online) channel.connected();
    this.#channels.set(name, channel);
    return channel;
  }

  send(frame) {
    this.#socket.send(this.codec.encode(frame));
  }

  close() {
    clearInterval(this.clock);
    this.#drop(1000, false);
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

  #dial() {
    this.#dialAt = 0;
    this.#heardAt = Date.now();
    const socket = (this.#socket = new WebSocket(this.url, this.codec.subprotocol, { maxPayload: MAX_FRAME, perMessageDeflate: false }));
    const mine = (handle) => (...args) => this.#socket === socket && handle(...args);
    const hello = { version: 1, token: this.token, conn: ++this.#conn, client: this.id, maxFrame: MAX_FRAME };
    socket.on("open", mine(() => this.send({ hello })));
    socket.on("message", mine((bytes) => this.#take(bytes)));
    socket.on("close", mine(() => this.#drop()));
    socket.on("error", () => {}); // `close` follows
  }

  #take(bytes) {
    this.#heardAt = Date.now();
    try {
      // A frame may end the link: what follows it is void.
      for (const { kind, frame } of this.codec.decode(bytes)) if (this.#socket) this.#receive(kind, frame);
    } catch (error) {
      this.emit("fault", error);
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
      this.leave = { at: Date.now() + after, by: Date.now() + Math.max(after, frame.byMs) };
    } else if (frame.channel !== undefined) this.#channels.get(frame.channel)?.receive(kind, frame);
    else if (kind === "error") this.emit("fault", new Error(`${frame.code} ${frame.detail}`));
  }

  #enter(welcome) {
    if (!welcome.limits || welcome.author.length !== 16) throw new Error("welcome lacks a field");
    if (this.welcome && !this.welcome.author.equals(welcome.author)) throw new Error("the outbox belongs to somebody else");
    Object.assign(this, { welcome, online: true });
    this.#welcomedAt = Date.now();
    for (const channel of this.#channels.values()) channel.connected();
  }

  #fail({ code, detail }) {
    this.emit("refused", code, detail);
    // Else the close that follows leads to the next try.
    if (!LATER.has(code)) this.close();
  }

  #drop(code = 1000, again = true) {
    const now = Date.now();
    if (this.online && now - this.#welcomedAt > STABLE_MS) this.#attempt = 0;
    const { base, cap } = this.backoff;
    this.#dialAt = again ? now + Math.random() * Math.min(cap, base * 2 ** this.#attempt++) : 0;
    this.#socket?.close(code);
    this.#socket = this.leave = null;
    this.online = false;
    for (const channel of this.#channels.values()) channel.disconnected();
  }

  #tick(now) {
    if (this.#dialAt && now >= this.#dialAt) this.#dial();
    const silence = this.online ? this.welcome.heartbeatMs + GRACE_MS : CONNECT_MS;
    if (this.#socket && now - this.#heardAt > silence) this.#socket.terminate();
    const pushing = [...this.#channels.values()].some((channel) => channel.pushing);
    if (this.leave && now >= (pushing ? this.leave.by : this.leave.at)) this.#drop();
    for (const channel of this.#channels.values()) channel.tick(now);
  }
}
