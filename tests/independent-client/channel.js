// One channel as a client sees it: the base, the outbox on top of it, and the stream that moves both.

import { EventEmitter } from "node:events";
import { Document } from "./document.js";

const PROGRESS_MS = 10_000;
const BEHIND_MS = 2_000;
const COMMITS_KEPT = 4_096;
/** Codes that end a subscription (§12). */
const ENDS = new Set([2004, 6001, 6002, 6003, 4008]);

const order = (a, b) => a.epoch - b.epoch || a.seq - b.seq;
const same = (a, b) => a.epoch === b.epoch && a.seq === b.seq && a.tag === b.tag;

/** Events: change, historyLost({from, to}), lost(n), presence, refused(code, detail), report(code, detail). */
export class Channel extends EventEmitter {
  /** offline, asking, snapshotting, catching-up, live or failed. */
  state = "offline";
  base = new Document();
  /** Where the base stands; none before the first answer. */
  cursor = null;
  maxEpoch = 0;
  peers = new Map();
  /** How the subscribes so far were answered. */
  answers = { resume: 0, snapshot: 0 };
  #link = null;
  #outbox = [];
  #nextN = 1;
  #committed = new Set();
  #decided = 0; // every n up to here is in the server's log
  #pushed = 0; // every n up to here was pushed since the last answer
  #needed = new Set();
  #heldUntil = 0;
  #head = 0;
  #snapshot = null;
  #presence = undefined;
  #asked = { at: -Infinity, due: 0, tries: 0 };
  #progressAt = 0;
  #behind = null;

  constructor(name) {
    super();
    this.name = name;
  }

  get pending() {
    return this.#outbox.length;
  }

  /** Whether a push waits for its answer. */
  get pushing() {
    return this.#flying().length > 0;
  }

  view() {
    const view = this.base.copy();
    for (const row of this.#outbox) row.changes.forEach((change) => view.predict(change));
    return view;
  }

  /** `outcome` ends as { state: committed | rejected | indeterminate, code?, detail? }. */
  mutate(...changes) {
    if (this.state === "failed") throw new Error(`${this.name} is refused`);
    const item = { changes };
    if (this.#link?.sizeOf(item) > this.#link?.limits.mutationBytes) throw new Error("the mutation is too large");
    const row = { n: this.#nextN++, changes, item, copies: 0 };
    const outcome = new Promise((resolve) => (row.end = resolve));
    this.#outbox.push(row);
    this.emit("change");
    this.#push();
    return { n: row.n, outcome };
  }

  /** JSON text, or nothing to go away. */
  setPresence(data) {
    this.#presence = data;
    if (["catching-up", "live"].includes(this.state)) this.#tellPresence();
  }

  // ---------------------------------------------------------------- the link

  connected(link) {
    this.#link = link;
    if (this.state !== "failed") this.#ask({ paced: false });
  }

  disconnected() {
    this.#link = null;
    this.#snapshot = null;
    this.#needed.clear();
    this.peers.clear();
    if (this.state !== "failed") this.state = "offline";
  }

  /** Called a few times a second: everything here that waits for time. */
  tick(now) {
    if (["offline", "failed"].includes(this.state)) return;
    if (this.#asked.due) return void (now >= this.#asked.due && this.#sendSubscribe(now));
    const expecting = this.state !== "live" || this.pushing;
    if (expecting && now - this.#progressAt > PROGRESS_MS) return this.#ask();
    if (this.#behind && order(this.#behind.cursor, this.cursor) <= 0) this.#behind = null;
    if (this.#behind && now - this.#behind.since > BEHIND_MS) return this.#ask();
    if (this.#heldUntil && now >= this.#heldUntil) {
      this.#heldUntil = 0;
      this.#push();
    }
  }

  receive(kind, frame) {
    if (["offline", "failed"].includes(this.state)) return;
    if (kind === "resume") this.#handleResume(frame);
    else if (kind === "snapshotBegin") this.#handleSnapshotBegin(frame);
    else if (kind === "snapshotPart") frame.records.forEach((record) => this.#handleRecord(record));
    else if (kind === "snapshotEnd") this.#handleSnapshotEnd(frame);
    else if (kind === "patch") this.#handlePatch(frame);
    else if (kind === "ack") this.#handleAck(frame);
    else if (kind === "need") this.#handleNeed(frame);
    else if (kind === "hold") this.#holdFor(frame.retryMs);
    else if (kind === "staleEpoch" || kind === "lagged") this.#ask();
    else if (kind === "presence") this.#handlePresence(frame);
    else if (kind === "error") this.#handleError(frame);
    else throw new Error(`${kind} is no frame about a channel`);
  }

  // ------------------------------------------------- subscribing and its answers

  #ask({ paced = true, atLeast = 0 } = {}) {
    const now = Date.now();
    const fresh = !paced || now - this.#asked.at > 5_000;
    this.#asked.tries = fresh ? 0 : this.#asked.tries + 1;
    const jitter = Math.max(200, Math.random() * Math.min(10_000, 200 * 2 ** this.#asked.tries));
    this.#asked.due = now + Math.max(atLeast, fresh ? 0 : jitter);
    this.#snapshot = null;
    this.#behind = null;
    this.state = "asking";
    if (this.#asked.due <= now) this.#sendSubscribe(now);
  }

  #sendSubscribe(now) {
    Object.assign(this.#asked, { at: now, due: 0 });
    this.#progressAt = now;
    this.#link.send({ subscribe: { channel: this.name, maxEpoch: this.maxEpoch, ...(this.cursor && { have: this.cursor }) } });
  }

  #handleResume({ from, head, known }) {
    if (!from || !head || !known) throw new Error("resume lacks a field");
    if (!["asking", "snapshotting"].includes(this.state)) return;
    if (head.epoch < this.maxEpoch || !this.cursor || !same(from, this.cursor)) return this.#ask();
    this.answers.resume += 1;
    this.#snapshot = null;
    this.#head = head.seq;
    this.#enter(head.epoch, known);
  }

  #handleSnapshotBegin({ cursor, known }) {
    if (!cursor || !known) throw new Error("snapshot_begin lacks a field");
    if (cursor.epoch < this.maxEpoch) return this.#ask();
    this.#snapshot = { cursor, known, base: new Document(), records: 0 };
    this.state = "snapshotting";
    this.#progressAt = Date.now();
  }

  #handleRecord(record) {
    if (this.state !== "snapshotting") return;
    this.#snapshot.base.put(record);
    this.#snapshot.records += 1;
    this.#progressAt = Date.now();
  }

  #handleSnapshotEnd({ records, digest }) {
    if (this.state !== "snapshotting") return;
    const { cursor, known, base, records: got } = this.#snapshot;
    const broken = got !== records || base.size !== records || base.digest() !== digest;
    if (broken || (this.cursor && order(cursor, this.cursor) < 0)) return this.#ask();
    const from = this.cursor;
    Object.assign(this, { base, cursor });
    this.#snapshot = null;
    this.#head = cursor.seq;
    this.answers.snapshot += 1;
    const rejected = new Map(known.rejected.map((entry) => [entry.n, entry]));
    for (const { n } of this.#outbox.filter((row) => row.n <= known.last)) this.#settle(n, rejected.get(n));
    if (from && from.epoch < cursor.epoch) this.emit("historyLost", { from, to: cursor });
    this.#enter(cursor.epoch, known);
  }

  #enter(epoch, known) {
    if (epoch > this.maxEpoch) {
      this.maxEpoch = epoch;
      const low = this.#low();
      for (const n of [...this.#committed].filter((n) => n > known.last && n < low)) {
        this.#committed.delete(n);
        this.emit("lost", n);
      }
    }
    this.#decided = this.#pushed = known.last;
    this.#heldUntil = 0;
    this.#moved();
    if (this.#presence !== undefined) this.#tellPresence();
  }

  // ------------------------------------------------------------------ the stream

  #handlePatch({ epoch, from, fromTag, to, toTag, ops, mids }) {
    if (!["catching-up", "live"].includes(this.state)) return;
    if (from >= to) throw new Error("a patch that leads nowhere");
    const { seq, tag } = this.cursor;
    if (epoch > this.maxEpoch || epoch < this.cursor.epoch) return this.#ask();
    if (to < seq || (to === seq && toTag === tag)) return;
    if (to === seq || from > seq || (from === seq && fromTag !== tag)) return this.#ask();
    ops.forEach((op) => this.base.apply(op));
    this.cursor = { epoch, seq: to, tag: toTag };
    for (const mid of mids.filter(({ author }) => author.equals(this.#link.author))) {
      this.#decided = Math.max(this.#decided, mid.n);
      this.#settle(mid.n, mid.code ? mid : null);
    }
    this.#moved();
  }

  #moved() {
    this.#progressAt = Date.now();
    this.state = this.cursor.seq >= this.#head ? "live" : "catching-up";
    this.emit("change");
    this.#push();
  }

  handleHead(head) {
    // One behind may have been read before the patches that are here already.
    if (this.state === "live" && order(head, this.cursor) > 0) this.#behind ??= { cursor: head, since: Date.now() };
  }

  #handlePresence({ full, peers }) {
    if (full) this.peers.clear();
    for (const { peer, principal, data } of peers) {
      if (data === undefined) this.peers.delete(peer);
      else this.peers.set(peer, { principal, data: data.toString("utf8") });
    }
    this.emit("presence");
  }

  #tellPresence() {
    const data = this.#presence === undefined ? {} : { data: Buffer.from(this.#presence) };
    this.#link.send({ presenceSet: { channel: this.name, ...data } });
  }

  // ------------------------------------------------------------------ the outbox

  #low() {
    return this.#outbox[0]?.n ?? this.#nextN;
  }

  #flying() {
    return this.#outbox.filter((row) => row.n > this.#decided && row.n <= this.#pushed);
  }

  /** Sends what follows the last pushed row without a gap, inside the window. */
  #push() {
    if (!["catching-up", "live"].includes(this.state) || this.#heldUntil || this.#link.leaving) return;
    const { pushItems, pushBytes } = this.#link.limits;
    const flying = this.#flying();
    let items = flying.length;
    let bytes = flying.reduce((sum, row) => sum + row.bytes, 0);
    const batch = [];
    for (const row of this.#outbox.filter((row) => row.n > this.#pushed)) {
      row.bytes ??= this.#link.sizeOf(row.item);
      const follows = row.n === Math.max(this.#pushed + 1, this.#low());
      if (!follows || items === pushItems || (items && bytes + row.bytes > pushBytes)) break;
      batch.push(row);
      items += 1;
      bytes += row.bytes;
      this.#pushed = row.n;
    }
    if (!batch.length) return;
    if (!flying.length) this.#progressAt = Date.now();
    for (const row of batch) row.copies += 1;
    const push = { channel: this.name, epoch: this.maxEpoch, firstN: batch[0].n, low: this.#low() };
    this.#link.send({ push: { ...push, items: batch.map((row) => row.item) } });
  }

  #handleAck({ through }) {
    this.#decided = Math.max(this.#decided, through);
    this.#progressAt = Date.now();
    this.#push();
  }

  #handleNeed({ n }) {
    if (this.#needed.has(n)) return;
    this.#needed.add(n);
    this.#pushed = n - 1;
    this.#push();
  }

  #holdFor(ms) {
    this.#heldUntil = Date.now() + Math.max(ms, 1);
    this.#pushed = this.#decided;
  }

  /** The log has decided about `n`. */
  #settle(n, rejected) {
    const at = this.#outbox.findIndex((row) => row.n === n);
    if (at < 0) return;
    const [row] = this.#outbox.splice(at, 1);
    if (rejected) return row.end({ state: "rejected", code: rejected.code, detail: rejected.detail });
    this.#committed.add(n);
    if (this.#committed.size > COMMITS_KEPT) this.#committed.delete(this.#committed.values().next().value);
    row.end({ state: "committed" });
  }

  #handleError({ code, detail, n }) {
    if (n !== undefined) {
      this.#refuse(n, code, detail);
      this.emit("change");
      this.#push();
    } else if (ENDS.has(code)) {
      this.state = "failed";
      for (const row of this.#outbox.splice(0)) row.end(row.copies ? { state: "indeterminate" } : { state: "rejected", code, detail });
      this.emit("refused", code, detail);
    } else this.emit("report", code, detail); // a subscribe that it leaves unanswered is repeated in time
  }

  /** Outside the log: certain only if no other copy is under way. */
  #refuse(n, code, detail) {
    const at = this.#outbox.findIndex((row) => row.n === n);
    if (at < 0) return;
    const [row] = this.#outbox.splice(at, 1);
    row.end(row.copies === 1 ? { state: "rejected", code, detail } : { state: "indeterminate" });
  }
}
