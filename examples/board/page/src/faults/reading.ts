// What the frames say, read a second time: a small client that follows docs/protocol.md by itself and
// knows nothing of the core. Where the two agree, a visitor sees order and exactly-once at work.

import type { Frame } from "tidewire/debug";

export type Tone = "plain" | "good" | "warn" | "bad";

/** What there is to say about a frame. */
export interface Remark {
  note?: string;
  tone?: Tone;
  /** Milliseconds: of a change from its first push to its answer, of somebody else's since it was logged. */
  latency?: number;
}

/** A remark about a row that was shown before. */
export type Later = (row: number, remark: Remark) => void;

export interface Sums {
  /** How far in the log. */
  applied: number | undefined;
  /** Where patches wait behind a hole. */
  missing: number | undefined;
  patches: number;
  gaps: number;
  duplicates: number;
  /** One's own changes whose push was seen, how often they were sent, and what the log holds of them. */
  changes: number;
  sends: number;
  once: number;
  twice: number;
  rejected: number;
}

interface Change {
  row: number;
  at: number;
  sends: number;
  logged: number;
  answered: boolean;
}

interface Kept {
  row: number;
  body: Patch;
  at: number;
}

interface Patch {
  epoch: number;
  from: number;
  to: number;
  ms: number;
  mids: { author: string; n: number; code: number; detail: string }[];
}

/** Own changes that are remembered, oldest gone first; the sums count all of them. */
const CHANGES_MAX = 500;
/** As many as a client keeps behind a hole. */
const KEPT_MAX = 256;

export class Reading {
  #author: string | undefined;
  #applied: number | undefined;
  /** How far the log was counted: what comes again after a resume is not counted again. */
  #counted = 0;
  #snapshot: number | undefined;
  #kept: Kept[] = [];
  #changes = new Map<number, Change>();
  #sums: Omit<Sums, "applied" | "missing"> = {
    patches: 0,
    gaps: 0,
    duplicates: 0,
    changes: 0,
    sends: 0,
    once: 0,
    twice: 0,
    rejected: 0,
  };

  constructor(
    readonly channel: string,
    readonly later: Later,
  ) {}

  get sums(): Sums {
    const missing = this.#kept.length > 0 && this.#applied !== undefined ? this.#applied + 1 : undefined;
    return { ...this.#sums, applied: this.#applied, missing };
  }

  /** Reads a frame, which becomes the row `row`. */
  read(frame: Frame, row: number, at: number): Remark {
    const { kind, body, n } = frame;
    if (frame.channel !== undefined && frame.channel !== this.channel) return {};
    switch (kind) {
      case "welcome":
        this.#author = hex(body["author"]);
        return { note: `let in as ${String(body["principal"])}` };
      case "subscribe":
        return { note: body["have"] ? `has seq ${frame.seq}` : "has nothing yet" };
      case "resume":
        return this.#resumed(count(record(body["from"])["seq"]), frame.seq);
      case "snapshot_begin":
        this.#snapshot = count(record(body["cursor"])["seq"]);
        return { note: "the whole state comes" };
      case "snapshot_end":
        return this.#swapped();
      case "push":
        return this.#pushed(n ?? 0, list(body["items"]).length, row, at);
      case "ack":
        return this.#acked(n ?? 0, at);
      case "patch":
        return this.#patched(patchOf(body), row, at);
      case "fetch":
        return { note: `asks for seq ${span(count(body["after"]) + 1, count(body["through"]))}`, tone: "warn" };
      case "hold":
        return { note: `come again in ${count(body["retryMs"])} ms`, tone: "warn" };
      case "need":
        return { note: `wants change ${n} first`, tone: "warn" };
      case "stale_epoch":
      case "lagged":
        return { note: "subscribe again", tone: "warn" };
      case "goaway":
        return { note: "asked to leave and come back", tone: "warn" };
      case "error":
        return { note: String(body["detail"] ?? ""), tone: "bad" };
      default:
        return {};
    }
  }

  /** What a link that was open before anybody looked said first. */
  remember(frames: readonly Frame[]): void {
    const welcome = frames.find(({ kind }) => kind === "welcome");
    if (welcome) this.#author = hex(welcome.body["author"]);
  }

  #resumed(from: number, head: number | undefined): Remark {
    this.#applied = from;
    this.#kept = [];
    const behind = (head ?? from) - from;
    return { note: behind === 0 ? "nothing was missed" : `goes on at seq ${from}, ${behind} to come`, tone: "good" };
  }

  #swapped(): Remark {
    this.#applied = this.#snapshot ?? this.#applied;
    this.#counted = this.#applied ?? 0;
    this.#snapshot = undefined;
    this.#kept = [];
    return { note: `the whole state at seq ${this.#applied ?? "?"}`, tone: "good" };
  }

  #pushed(first: number, items: number, row: number, at: number): Remark {
    let again = false;
    for (let n = first; n < first + items; n += 1) {
      const known = this.#changes.get(n);
      this.#sums.sends += 1;
      if (known) {
        known.sends += 1;
        again = true;
        continue;
      }
      this.#sums.changes += 1;
      this.#changes.set(n, { row, at, sends: 1, logged: 0, answered: false });
      if (this.#changes.size > CHANGES_MAX) {
        const [oldest] = this.#changes.keys();
        this.#changes.delete(oldest as number);
      }
    }
    const what = `${items === 1 ? "change" : "changes"} ${span(first, first + items - 1)}`;
    return again ? { note: `${what}, sent again`, tone: "warn" } : { note: what };
  }

  #acked(through: number, at: number): Remark {
    const latency = this.#answered(through, at);
    return { note: `logged up to change ${through}`, ...latency };
  }

  /** The time from a change's first push to now, also shown at the push. */
  #answered(n: number, at: number): Remark {
    const change = this.#changes.get(n);
    if (!change) return {};
    const latency = at - change.at;
    if (!change.answered) this.later(change.row, { latency });
    change.answered = true;
    return { latency };
  }

  #patched(patch: Patch, row: number, at: number): Remark {
    // The panel was opened later than the board: whatever comes first is where it stands.
    this.#applied ??= patch.from;
    if (patch.to <= this.#applied) {
      this.#sums.duplicates += 1;
      return { note: "seen before: ignored", tone: "warn" };
    }
    if (patch.from > this.#applied) {
      if (this.#kept.length === 0) this.#sums.gaps += 1;
      if (this.#kept.length < KEPT_MAX) this.#kept.push({ row, body: patch, at });
      return { note: `too early: waits for seq ${span(this.#applied + 1, patch.from)}`, tone: "warn" };
    }
    const remark = this.#apply(patch, at);
    this.#closeGaps(at);
    return remark;
  }

  #closeGaps(at: number): void {
    for (;;) {
      const applied = this.#applied ?? 0;
      const next = this.#kept.findIndex(({ body }) => body.from <= applied);
      const [kept] = next < 0 ? [] : this.#kept.splice(next, 1);
      if (!kept) return;
      if (kept.body.to <= applied) continue;
      const waited = Math.round(at - kept.at);
      const { note, ...rest } = this.#apply(kept.body, at);
      this.later(kept.row, { tone: "good", ...rest, note: `applied after ${waited} ms${note ? ` · ${note}` : ""}` });
    }
  }

  #apply(patch: Patch, at: number): Remark {
    this.#applied = patch.to;
    const isNew = patch.from >= this.#counted;
    if (patch.to > this.#counted) this.#sums.patches += 1;
    this.#counted = Math.max(this.#counted, patch.to);
    const own = patch.mids.filter(({ author }) => author === this.#author);
    if (own.length === 0) return { latency: Math.max(0, at - patch.ms) };
    let latency: Remark = {};
    for (const { n, code } of own) {
      latency = this.#answered(n, at);
      const change = this.#changes.get(n);
      if (!change || (change.logged > 0 && !isNew)) continue;
      change.logged += 1;
      if (change.logged === 1) this.#sums.once += 1;
      if (change.logged === 2) {
        this.#sums.once -= 1;
        this.#sums.twice += 1;
      }
      if (code !== 0 && change.logged === 1) this.#sums.rejected += 1;
    }
    const rejected = own.find(({ code }) => code !== 0);
    const numbers = own.map(({ n }) => n);
    return rejected
      ? { ...latency, note: `your change ${rejected.n} was refused: rolled back`, tone: "bad" }
      : { ...latency, note: `your ${numbers.length === 1 ? "change" : "changes"} ${span(Math.min(...numbers), Math.max(...numbers))}`, tone: "good" };
  }
}

function patchOf(body: Record<string, unknown>): Patch {
  return {
    epoch: count(body["epoch"]),
    from: count(body["from"]),
    to: count(body["to"]),
    ms: count(body["ms"]),
    mids: list(body["mids"]).map((each) => {
      const mid = record(each);
      return {
        author: hex(mid["author"]),
        n: count(mid["n"]),
        code: count(mid["code"]),
        detail: String(mid["detail"] ?? ""),
      };
    }),
  };
}

/** Protobuf leaves out what is zero. */
const count = (value: unknown): number => (typeof value === "number" ? value : 0);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const record = (value: unknown): Record<string, unknown> => (value ?? {}) as Record<string, unknown>;
const hex = (value: unknown): string =>
  value instanceof Uint8Array ? Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("") : "";
const span = (first: number, last: number): string => (first >= last ? `${last}` : `${first}–${last}`);
