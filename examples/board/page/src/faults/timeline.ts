// The frames of this tab, one row each, newest first. Bounded; shown at most once per frame of the screen.

import type { Frame, FrameTap, Tapped } from "tidewire/debug";
import { Store } from "../state/store.ts";
import type { Strike } from "./panel.ts";
import { Reading, type Remark, type Sums, type Tone } from "./reading.ts";

export interface Row {
  id: number;
  /** Milliseconds since the epoch. */
  at: number;
  what: "frame" | "link" | "fault";
  direction: "up" | "down" | undefined;
  kind: string;
  channel: string | undefined;
  seq: number | undefined;
  note: string | undefined;
  tone: Tone;
  latency: number | undefined;
}

/** Rows that are kept; the oldest go. */
const ROWS_MAX = 400;

/** They say nothing about changes, and a moving pointer makes twenty of them a second. */
const QUIET = new Set(["presence", "presence_set", "ping", "pong", "heartbeat"]);

export class Timeline {
  readonly rows = new Store<readonly Row[]>([]);
  readonly sums: Store<Sums>;
  /** Whether presence, pings and heartbeats are shown too. */
  readonly all = new Store(false);
  readonly paused = new Store(false);
  /** Why frames cannot be read, if they cannot. */
  readonly problem = new Store<string | undefined>(undefined);

  readonly #tap: FrameTap;
  readonly #reading: Reading;
  #newest: Row[] = [];
  #next = 1;
  #isDue = false;
  #decode: ((bytes: Uint8Array) => Frame[]) | undefined;
  /** The first message of the present link: it says who we are. */
  #first: { socket: number; bytes: Uint8Array } | undefined;

  constructor(tap: FrameTap, channel: string) {
    this.#tap = tap;
    this.#reading = new Reading(channel, (row, remark) => this.#amend(row, remark));
    this.sums = new Store(this.#reading.sums);
    this.#tap.watch((tapped) => {
      if (tapped.type !== "message" || tapped.direction !== "down") return;
      if (this.#first?.socket !== tapped.socket) this.#first = { socket: tapped.socket, bytes: tapped.bytes };
    });
  }

  /** Watches until the result is called. */
  start(loadDecoder: () => Promise<(bytes: Uint8Array) => Frame[]>): () => void {
    // What comes before the decoder is there waits for it.
    let early: Tapped[] | undefined = [];
    let stopped = false;
    const stop = this.#tap.watch((tapped) => (early ? early.push(tapped) : this.#take(tapped)));
    loadDecoder()
      .then((decode) => {
        if (stopped) return;
        this.#decode = decode;
        if (this.#first) this.#reading.remember(decode(this.#first.bytes));
        for (const tapped of early ?? []) this.#take(tapped);
        early = undefined;
      })
      .catch((error: Error) => this.problem.set(error.message));
    return () => {
      stopped = true;
      stop();
    };
  }

  clear(): void {
    this.#newest = [];
    this.rows.set([]);
  }

  /** Something that is no frame. */
  say(kind: string, note: string, tone: Tone = "warn"): void {
    this.#add({ at: Date.now(), what: "fault", kind, note, tone });
  }

  /** What the server did on purpose. */
  struck(strike: Strike, at: number): void {
    const { effect, direction, frame, channel, seq, principal } = strike;
    const whom = principal === undefined ? "everybody" : principal;
    this.#add({
      at,
      what: "fault",
      direction,
      kind: effect,
      channel,
      seq,
      note: frame ? `${frame} ${direction === "up" ? "from" : "to"} ${whom}` : `for ${channel ?? whom}`,
      tone: "warn",
    });
  }

  #take(tapped: Tapped): void {
    const { at } = tapped;
    if (tapped.type === "open") {
      this.#add({ at, what: "link", kind: "opened", note: `link ${tapped.socket}, ${tapped.transport}`, tone: "good" });
    } else if (tapped.type === "close") {
      const how = tapped.clean ? "said goodbye" : "broke without a word";
      this.#add({ at, what: "link", kind: "closed", note: `link ${tapped.socket} ${how}`, tone: "bad" });
    } else {
      for (const frame of this.#frames(tapped.bytes)) {
        const remark = this.#reading.read(frame, this.#next, at);
        if (!this.all.value && QUIET.has(frame.kind)) continue;
        const { kind, channel, seq } = frame;
        this.#add({ at, what: "frame", direction: tapped.direction, kind, channel, seq, ...remark });
      }
    }
  }

  #frames(bytes: Uint8Array): Frame[] {
    try {
      return this.#decode?.(bytes) ?? [];
    } catch (error) {
      this.problem.set(String(error));
      return [];
    }
  }

  #add(row: Partial<Row> & Pick<Row, "at" | "what" | "kind">): void {
    const whole: Row = {
      id: this.#next++,
      direction: undefined,
      channel: undefined,
      seq: undefined,
      note: undefined,
      tone: "plain",
      latency: undefined,
      ...row,
    };
    // The server's word about a strike comes a moment after the frames around it.
    let place = 0;
    while (place < this.#newest.length && (this.#newest[place] as Row).at > whole.at) place += 1;
    this.#newest = [...this.#newest.slice(0, place), whole, ...this.#newest.slice(place)].slice(0, ROWS_MAX);
    this.#show();
  }

  #amend(id: number, remark: Remark): void {
    const place = this.#newest.findIndex((row) => row.id === id);
    const row = this.#newest[place];
    if (!row) return;
    this.#newest = this.#newest.map((each) => (each === row ? { ...row, ...remark } : each));
    this.#show();
  }

  #show(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.sums.set(this.#reading.sums);
      if (!this.paused.value) this.rows.set(this.#newest);
    });
  }
}
