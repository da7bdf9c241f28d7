// A tidewire client written from docs/protocol.md and tidewire.proto alone: the session and its links. It keeps
// everything in memory and shows what the protocol asks of a client, not how to make it fast.

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { Channel } from "./channel.js";
import { proto } from "./codec.js";
import { Move } from "./move.js";
import { WebSocketLink } from "./transports/websocket.js";

const MAX_FRAME = 1024 * 1024;
const CONNECT_MS = 15_000;
const GRACE_MS = 10_000; // of silence beyond the server's heartbeat
const STABLE_MS = 10_000;
const PAUSE_MAX_MS = 3_600_000;
/** Codes after which a new link may help (§12, "retry"). */
const LATER = new Set([1006, 1007, 1009, 1010, 2002, 2003, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4009, 4010, 4011]);
/** What counts of the response to a POST, errors aside (§15). */
const ANSWERS = new Set(["ack", "need", "hold", "staleEpoch"]);

/** Events: frame(kind, frame), fault(error), refused(code, detail), linked(transport). */
export class Client extends EventEmitter {
  /** The last `welcome`. */
  welcome = null;
  online = false;
  /** Set by `goaway`, after which nothing new is pushed on this link. */
  leave = null;
  #channels = new Map();
  #link = null;
  #move = null;
  /** The session of the first link: by it the links of this client are one peer. */
  #first = null;
  #conn = 0;
  #attempt = 0;
  #welcomedAt = 0;
  #dialAt = 0;
  #notBefore = 0;

  /** `url` is the server's http(s) address; `token` opaque. */
  constructor(url, token, { id = randomBytes(16), backoff = { base: 1_000, cap: 30_000 }, codec = proto, transport = WebSocketLink } = {}) {
    super();
    Object.assign(this, { url, token, id, backoff, codec, transport });
    this.#dial();
    this.clock = setInterval(() => this.#tick(Date.now()), 100);
  }

  channel(name) {
    const channel = this.#channels.get(name) ?? new Channel(name, this);
    if (!this.#channels.has(name) && this.online) channel.connected(this.#link);
    this.#channels.set(name, channel);
    return channel;
  }

  send(frame) {
    this.#link.send(frame);
  }

  /** For good: the others see this one go at once. */
  close() {
    clearInterval(this.clock);
    this.#move?.end();
    if (this.online) this.#link?.leave([...this.#channels.keys()].map((channel) => ({ unsubscribe: { channel } })));
    else this.#link?.close(1000);
    this.#forget();
  }

  /** Breaks the link without a word, as a network does. */
  cut() {
    this.#link?.cut();
  }

  /** Stops and goes on reading: what the server sends meanwhile piles up on its side. */
  pause() {
    this.#link.pause();
  }

  resume() {
    this.#link.resume();
  }

  /** Goes on over another transport; the present link serves until that one can take over. */
  moveTo(transport) {
    if (this.online) this.#move = new Move(this.#open(transport), transport, [...this.#channels.values()]);
    else this.transport = transport;
  }

  get moving() {
    return this.#move !== null;
  }

  #dial() {
    this.#dialAt = 0;
    this.#link = this.#open(this.transport);
  }

  #open(transport) {
    const conn = ++this.#conn;
    const hello = () => ({
      version: 1,
      token: this.token,
      conn,
      client: this.id,
      maxFrame: MAX_FRAME,
      ...(this.#first && { continues: this.#first }),
      ...(this.welcome && { expectAuthor: this.welcome.author }),
    });
    const mine = (handle) => (...args) => (link === this.#link || link === this.#move?.link) && handle(...args);
    const owner = {
      message: mine((bytes) => this.#take(link, bytes, true)),
      answer: mine((bytes) => this.#take(link, bytes, false)),
      failed: mine((error) => this.#fail(link, error)),
      ended: mine(() => this.#drop(link)),
    };
    const { url, codec, backoff } = this;
    const link = new transport({ url, codec, hello, maxFrame: MAX_FRAME, owner, backoff });
    return Object.assign(link, { heardAt: Date.now(), welcome: null });
  }

  /** A message of the way down, or the response to a POST, which is no sign of life of that way. */
  #take(link, bytes, down) {
    if (down) link.heardAt = Date.now();
    try {
      if (bytes.length > MAX_FRAME) throw new Error("a message above max_frame");
      for (const { kind, frame } of this.codec.decode(bytes)) {
        // A frame may end the link: what follows it is void.
        if (link !== this.#link && link !== this.#move?.link) return;
        if (down || ANSWERS.has(kind) || kind === "error") this.#receive(link, kind, frame);
      }
    } catch (error) {
      this.emit("fault", error);
      this.#drop(link, 1002);
    }
  }

  #receive(link, kind, frame) {
    if (kind === "welcome") return link.welcome ? undefined : this.#enter(link, frame);
    if (kind === "error" && frame.fatal) return this.#fail(link, frame);
    if (!link.welcome) throw new Error(`${kind} before welcome`);
    this.emit("frame", kind, frame, link);
    if (kind === "heartbeat") {
      link.pong(frame.serverMs);
      if (link === this.#link) for (const { channel, cursor } of frame.heads) this.#channels.get(channel)?.handleHead(cursor);
    } else if (kind === "goaway") {
      const after = Math.random() * frame.windowMs;
      if (link === this.#link) this.leave = { at: Date.now() + after, by: Date.now() + Math.max(after, frame.byMs) };
    } else if (frame.channel !== undefined) this.#channels.get(frame.channel)?.receive(kind, frame, link);
    else if (kind === "error") this.emit("fault", new Error(`${frame.code} ${frame.detail}`));
  }

  #enter(link, welcome) {
    if (!welcome.limits || welcome.author.length !== 16) throw new Error("welcome lacks a field");
    if (this.welcome && !this.welcome.author.equals(welcome.author)) throw new Error("the outbox belongs to somebody else");
    this.#first ??= welcome.session;
    this.welcome = link.welcome = welcome;
    link.welcomed(welcome);
    if (link === this.#link) this.#begin();
    else this.#move.begin(Date.now());
  }

  #begin() {
    this.online = true;
    this.#welcomedAt = Date.now();
    for (const channel of this.#channels.values()) channel.connected(this.#link);
    this.emit("linked", this.transport);
  }

  #fail(link, { code, detail, retryMs }) {
    // What happens to the next link ends nothing.
    if (link !== this.#link) return this.#drop(link);
    this.#notBefore = Date.now() + Math.min(PAUSE_MAX_MS, retryMs ?? 0);
    this.emit("refused", code, detail);
    if (LATER.has(code)) this.#drop(link);
    else this.close();
  }

  #drop(link, code = 1001) {
    link.close(code);
    if (link === this.#move?.link) return this.#giveUpMove();
    if (this.#move?.link.welcome) return this.#takeOver();
    const now = Date.now();
    if (this.online && now - this.#welcomedAt > STABLE_MS) this.#attempt = 0;
    const { base, cap } = this.backoff;
    this.#dialAt = Math.max(now, this.#notBefore) + Math.random() * Math.min(cap, base * 2 ** this.#attempt++);
    this.#move?.end();
    this.#forget();
  }

  #forget() {
    this.#link = this.#move = this.leave = null;
    this.online = false;
    for (const channel of this.#channels.values()) channel.disconnected();
  }

  #giveUpMove() {
    const { link } = this.#move;
    this.#move = null;
    for (const channel of this.#channels.values()) channel.stay(this.#link, link);
  }

  /** The next link is the link; channels that did not get their answer there yet wait for it. */
  #takeOver() {
    const { link, transport } = this.#move;
    const before = this.#link;
    this.#link = link;
    this.transport = transport;
    this.#move = this.leave = null;
    this.#welcomedAt = Date.now();
    before.close(1001);
    for (const channel of this.#channels.values()) channel.follow(link);
    this.emit("linked", transport);
  }

  #tick(now) {
    if (this.#dialAt && now >= this.#dialAt) this.#dial();
    for (const link of [this.#link, this.#move?.link]) {
      const silence = link?.welcome ? link.welcome.heartbeatMs + GRACE_MS : CONNECT_MS;
      if (link && now - link.heardAt > silence) link.cut();
    }
    if (this.#move?.over(now)) this.#move.done || this.leave ? this.#takeOver() : this.#drop(this.#move.link);
    const pushing = [...this.#channels.values()].some((channel) => channel.pushing);
    if (this.leave && now >= (pushing ? this.leave.by : this.leave.at)) this.#drop(this.#link);
    for (const channel of this.#channels.values()) channel.tick(now);
  }
}
