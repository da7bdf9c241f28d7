// One channel as a client sees it: the base, the outbox on top of it, and the stream that moves both.

import { EventEmitter } from "node:events";
import { Ask } from "./ask.js";
import { order, same } from "./cursor.js";
import { Document } from "./document.js";
import { Snapshot } from "./snapshot.js";

const PROGRESS_MS = 10_000;
const BEHIND_MS = 2_000;
const COMMITS_KEPT = 4_096;
/** With a pause: a subscribe gets no answer now. */
const OVERLOADED = 4001;
/** Codes that end a subscription (§12). */
const ENDS = new Set([2004, 6001, 6002, 6003, 4008]);

/** Events: historyLost({from, to}), lost(n), refused(code, detail), report(code, detail). */
export class Channel extends EventEmitter {
  /** offline, asking, snapshotting, catching-up, live or failed. */
  state = "offline";
  base = new Document();
  /** Where the base stands; none before the first answer. */
  cursor = null;
  peers = new Map();
  /** How the subscribes so far were answered. */
  answers = { resume: 0, snapshot: 0 };
  maxEpoch = 0;
  /** The link that its stream is on. */
  #via = null;
  /** Its question on the next link, while the session moves. */
  #next = null;
  /** What came with the answer that named it; opaque. */
  #proof = null;
  #head = 0;
  #snapshot = null;
  #presence = undefined;
  #askedAt = -Infinity;
  #askAt = 0;
  #pause = 0;
  #progressAt = 0;
  #behind = null;
  #outbox = [];
  #nextN = 1;
  #committed = new Set();
  #decided = 0; // every n up to here is in the server's log
  #pushed = 0; // every n up to here was pushed since the last answer
  #needed = new Set();
  #heldUntil = 0;

  constructor(name, session) {
    super();
    Object.assign(this, { name, session });
  }

  get pending() {
    return this.#outbox.length;
  }

  /** Whether a push waits for its answer. */
  get pushing() {
    return this.#flying().length > 0;
  }

  get #streaming() {
    return this.state === "catching-up" || this.state === "live";
  }

  view() {
    const view = this.base.copy();
    for (const row of this.#outbox) row.item.changes.forEach((change) => view.predict(change));
    return view;
  }

  /** `outcome` ends as { state: committed | rejected | indeterminate, code?, detail? }. */
  mutate(...changes) {
    const row = { n: this.#nextN++, item: { changes }, bytes: this.session.codec.sizeOf({ changes }), copies: 0 };
    if (this.state === "failed" || row.bytes > (this.session.welcome?.limits.mutationBytes ?? Infinity)) throw new Error("refused");
    const outcome = new Promise((resolve) => (row.end = resolve));
    this.#outbox.push(row);
    this.#push();
    return { n: row.n, outcome };
  }

  /** JSON text, or nothing to go away. */
  setPresence(data) {
    this.#presence = data && Buffer.from(data);
    if (this.#streaming) this.#tellPresence();
  }

  #tellPresence() {
    this.#via.send({ presenceSet: { channel: this.name, ...(this.#presence && { data: this.#presence }) } });
  }

  // ------------------------------------------------- the link, subscribing and its answers

  connected(link) {
    this.#via = link;
    this.#askedAt = -Infinity;
    if (this.state !== "failed") this.#ask();
  }

  disconnected() {
    this.#via = this.#next = null;
    this.#needed.clear();
    this.peers.clear();
    if (this.state !== "failed") this.state = "offline";
  }

  /** The session has a next link: asks there, and goes on here. */
  askOn(link) {
    if (this.state !== "failed") this.#next = new Ask(link, this);
  }

  isOn(link) {
    return this.#via === link;
  }

  /** What the next link said continues the base, or replaces it: the stream is there from now on. */
  move(link, answer) {
    this.#next = null;
    this.#via = link;
    this.#needed.clear();
    if (answer.base) return this.#swap(answer);
    this.answers.resume += 1;
    this.#enter(answer.head, answer.known, answer.proof);
  }

  /** The next link is the session's link now. */
  follow(link) {
    this.#next = null;
    if (!this.isOn(link)) this.connected(link);
  }

  /** The next link is gone. */
  stay(current, gone) {
    this.#next = null;
    if (this.isOn(gone)) this.connected(current);
  }

  /** Called a few times a second: everything here that waits for time. */
  tick(now) {
    if (this.state === "offline" || this.state === "failed") return;
    this.#next?.tick(now);
    if (this.#askAt) return void (now >= this.#askAt && this.#subscribe(now));
    if (this.#behind && order(this.#behind.cursor, this.cursor) <= 0) this.#behind = null;
    const stuck = (this.state !== "live" || this.pushing) && now - this.#progressAt > PROGRESS_MS;
    if (stuck || (this.#behind && now - this.#behind.since > BEHIND_MS)) return this.#ask();
    this.#push();
  }

  /** Asks anew; paced, because no answer of a server may make a client spin. */
  #ask() {
    const now = Date.now();
    this.#pause = now - this.#askedAt > 5_000 ? 0 : Math.min(10_000, Math.max(200, this.#pause * 2));
    this.#askAt = now + this.#pause;
    this.#snapshot = this.#behind = null;
    this.state = "asking";
    if (this.#pause === 0) this.#subscribe(now);
  }

  #subscribe(now) {
    this.#askedAt = this.#progressAt = now;
    this.#askAt = 0;
    this.#via.send(this.subscription());
  }

  subscription() {
    const { name, cursor, maxEpoch } = this;
    const proven = this.#proof?.length ? { proof: this.#proof } : {};
    return { subscribe: { channel: name, maxEpoch, ...proven, ...(cursor && { have: cursor }) } };
  }

  #handleResume({ from, head, known, proof }) {
    if (this.#streaming) return this.#hearAnswer(head);
    if (head.epoch < this.maxEpoch || !this.cursor || !same(from, this.cursor)) return this.#ask();
    this.answers.resume += 1;
    this.#enter(head, known, proof);
  }

  /** The first of two subscribes began the stream, and this answers the second: live waits for its head, too. */
  #hearAnswer(head) {
    if (head.epoch > this.maxEpoch) return this.#ask();
    if (head.epoch < this.maxEpoch || head.seq <= this.#head) return;
    this.#head = head.seq;
    this.#moved();
  }

  #handleSnapshotBegin(frame) {
    const snapshot = new Snapshot(frame);
    if (snapshot.cursor.epoch < this.maxEpoch) return this.#ask();
    this.#snapshot = snapshot;
    this.state = "snapshotting";
  }

  #handleSnapshotEnd(end) {
    if (this.state !== "snapshotting") return;
    const snapshot = this.#snapshot;
    if (!snapshot.isWhole(end) || (this.cursor && order(snapshot.cursor, this.cursor) < 0)) return this.#ask();
    this.#swap(snapshot);
  }

  #swap({ base, cursor, known, head, proof }) {
    const from = this.cursor;
    Object.assign(this, { base, cursor });
    this.answers.snapshot += 1;
    const rejected = new Map(known.rejected.map((entry) => [entry.n, entry]));
    for (const { n } of this.#outbox.filter((row) => row.n <= known.last)) {
      // Below `low` the server has forgotten which ones it rejected.
      if (n < known.low && !rejected.has(n)) this.#take(n)?.end({ state: "indeterminate" });
      else this.#settle(n, rejected.get(n));
    }
    if (from && from.epoch < cursor.epoch) this.emit("historyLost", { from, to: cursor });
    this.#enter(head, known, proof);
  }

  #enter(head, known, proof) {
    if (proof?.length || head.epoch !== this.maxEpoch) this.#proof = proof;
    if (head.epoch > this.maxEpoch) {
      this.maxEpoch = head.epoch;
      for (const n of [...this.#committed].filter((n) => n > known.last && n < this.#low())) {
        this.#committed.delete(n);
        this.emit("lost", n);
      }
    }
    this.#snapshot = null;
    this.#head = head.seq;
    this.#decided = this.#pushed = known.last;
    this.#heldUntil = 0;
    this.#moved();
    if (this.#presence) this.#tellPresence();
  }

  // ------------------------------------------------------------------ the stream

  receive(kind, frame, link) {
    if (this.state === "offline" || this.state === "failed") return;
    if (link === this.#via) this.#receive(kind, frame);
    else if (kind === "patch") this.#applyBeside(frame);
    else if (kind === "error" && ENDS.has(frame.code) && frame.n === undefined && link === this.#next?.link) this.#handleError(frame);
    else if (link === this.#next?.link) this.#next.receive(kind, frame);
  }

  #receive(kind, frame) {
    if (kind !== "presence" && kind !== "error") this.#progressAt = Date.now();
    if (kind === "resume") this.#handleResume(frame);
    else if (kind === "snapshotBegin") this.#handleSnapshotBegin(frame);
    else if (kind === "snapshotPart") this.#snapshot?.add(frame.records);
    else if (kind === "snapshotEnd") this.#handleSnapshotEnd(frame);
    else if (kind === "patch") this.#handlePatch(frame);
    else if (kind === "ack") this.#handleAck(frame);
    else if (kind === "need") this.#handleNeed(frame);
    else if (kind === "hold") this.#handleHold(frame);
    else if (kind === "staleEpoch" || kind === "lagged") this.#ask();
    else if (kind === "presence") this.#handlePresence(frame);
    else if (kind === "error") this.#handleError(frame);
    else throw new Error(`${kind} is no frame about a channel`);
  }

  #handlePatch(patch) {
    if (!this.#streaming) return;
    const { epoch, from, fromTag, to, toTag } = patch;
    const { seq, tag } = this.cursor;
    if (epoch > this.maxEpoch || epoch < this.cursor.epoch) return this.#ask();
    if (to < seq || (to === seq && toTag === tag)) return;
    if (to === seq || from > seq || (from === seq && fromTag !== tag)) return this.#ask();
    this.#apply(patch);
  }

  /** During a move the link that the stream is not on brings patches, too. Those that do not fit say nothing. */
  #applyBeside(patch) {
    if (!this.#streaming || patch.epoch !== this.cursor.epoch || patch.to <= this.cursor.seq) return;
    if (patch.from < this.cursor.seq || (patch.from === this.cursor.seq && patch.fromTag === this.cursor.tag)) this.#apply(patch);
  }

  #apply({ epoch, to, toTag, ops, mids }) {
    ops.forEach((op) => this.base.apply(op));
    this.cursor = { epoch, seq: to, tag: toTag };
    for (const mid of mids.filter(({ author }) => author.equals(this.session.welcome.author))) {
      this.#decided = Math.max(this.#decided, mid.n);
      this.#settle(mid.n, mid.code ? mid : null);
    }
    this.#moved();
  }

  #moved() {
    this.state = this.cursor.seq >= this.#head ? "live" : "catching-up";
    this.#push();
    this.#next?.look();
  }

  handleHead(head) {
    // One behind may have been read before the patches that are here already.
    if (this.state === "live" && order(head, this.cursor) > 0) this.#behind ??= { cursor: head, since: Date.now() };
  }

  #handlePresence({ full, peers }) {
    if (full) this.peers.clear();
    for (const { peer, principal, data } of peers) {
      if (data === undefined) this.peers.delete(peer);
      else this.peers.set(peer, { principal, data: data.toString() });
    }
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
    if (!this.#streaming || Date.now() < this.#heldUntil || this.session.leave) return;
    const { pushItems, pushBytes } = this.session.welcome.limits;
    const flying = this.#flying();
    let bytes = flying.reduce((sum, row) => sum + row.bytes, 0);
    const batch = [];
    for (const row of this.#outbox.filter((row) => row.n > this.#pushed)) {
      const items = flying.length + batch.length;
      if (row.n !== Math.max(this.#pushed + 1, this.#low()) || items === pushItems || (items && bytes + row.bytes > pushBytes)) break;
      batch.push(row);
      bytes += row.bytes;
      row.copies += 1;
      this.#pushed = row.n;
    }
    if (!batch.length) return;
    if (!flying.length) this.#progressAt = Date.now();
    const items = batch.map((row) => row.item);
    this.#via.send({ push: { channel: this.name, epoch: this.maxEpoch, firstN: batch[0].n, low: this.#low(), items } });
  }

  #handleAck({ through }) {
    this.#decided = Math.max(this.#decided, through);
    this.#push();
  }

  #handleNeed({ n }) {
    if (this.#needed.has(n)) return;
    this.#needed.add(n);
    this.#pushed = n - 1;
    this.#push();
  }

  #handleHold({ retryMs }) {
    this.#heldUntil = Date.now() + retryMs;
    this.#pushed = this.#decided;
  }

  /** The log has decided about `n`. */
  #settle(n, rejected) {
    const row = this.#take(n);
    if (!row) return;
    if (rejected) return row.end({ state: "rejected", code: rejected.code, detail: rejected.detail });
    this.#committed.add(n);
    if (this.#committed.size > COMMITS_KEPT) this.#committed.delete(this.#committed.values().next().value);
    row.end({ state: "committed" });
  }

  #handleError({ code, detail, n, retryMs }) {
    if (n !== undefined) {
      // Outside the log: certain only if no other copy is under way.
      const row = this.#take(n);
      row?.end(row.copies === 1 && !this.#via.copies ? { state: "rejected", code, detail } : { state: "indeterminate" });
      this.#push();
    } else if (ENDS.has(code)) {
      this.state = "failed";
      for (const row of this.#outbox.splice(0)) row.end(row.copies ? { state: "indeterminate" } : { state: "rejected", code, detail });
      this.emit("refused", code, detail);
    } else if (code === OVERLOADED && retryMs !== undefined) {
      // The subscribe gets no answer now.
      this.#snapshot = this.#behind = null;
      this.state = "asking";
      this.#askAt = Date.now() + retryMs * (1 + Math.random() / 4);
    } else this.emit("report", code, detail); // a subscribe that it leaves unanswered is repeated in time
  }

  #take(n) {
    const at = this.#outbox.findIndex((row) => row.n === n);
    return at < 0 ? undefined : this.#outbox.splice(at, 1)[0];
  }
}
