/** What a test server does wrong on purpose. What each word means: docs/faults.md. */

import { request } from "node:http";

import { TidewireError } from "./errors.js";

/** The kinds of frames, named as in the published schema. */
export type FrameKind =
  | "hello"
  | "subscribe"
  | "unsubscribe"
  | "fetch"
  | "push"
  | "call"
  | "publish"
  | "presence_set"
  | "refresh"
  | "ping"
  | "pong"
  | "welcome"
  | "resume"
  | "snapshot_begin"
  | "snapshot_part"
  | "snapshot_end"
  | "patch"
  | "ack"
  | "need"
  | "hold"
  | "stale_epoch"
  | "lagged"
  | "reply"
  | "message"
  | "presence"
  | "goaway"
  | "heartbeat"
  | "refreshed"
  | "error"
  | "history"
  | "page";

/** What happens to a frame that is struck. Times are in ms, at most 60,000. */
export type Effect =
  /** It is lost, and its connection breaks without a word. */
  | "cut"
  /** It is lost, and so is everything after it, both ways: the socket stays open and silent. */
  | "half_open"
  /** It is lost. */
  | "drop"
  /** It comes twice. */
  | "duplicate"
  /** It comes later, and so does what is behind it in its direction. */
  | { readonly delay: { readonly ms: number } }
  /** The next frame of its kind and channel overtakes it; it comes by then if none does. */
  | { readonly reorder: { readonly within_ms: number } }
  /** Pushes only: it is not looked at and answered `hold`. */
  | { readonly hold: { readonly retry_ms: number } }
  /** Pushes only: its mutations are rejected, as if the application had. */
  | { readonly reject: { readonly code: string; readonly detail?: string } };

/** Which frames are struck, how often, and with what. */
export interface Rule {
  /** Unique within a plan, 1 to 64 bytes. `add` makes one up. */
  readonly name?: string;
  /** Only frames of channels that match; `*` stands for any text. */
  readonly channel?: string;
  /** Only on this principal's connections; `*` as above. */
  readonly principal?: string;
  /** `up` is from the client. Default: both ways. */
  readonly direction?: "up" | "down";
  /** Default: of all kinds. */
  readonly frames?: readonly FrameKind[];
  /** 0 to 1, for each frame. Default 1. */
  readonly chance?: number;
  /** It ends after so many. */
  readonly next?: number;
  /** It begins so long after it was set. */
  readonly from_ms?: number;
  /** It ends so long after it was set. */
  readonly until_ms?: number;
  readonly effect: Effect;
}

/** Something that happens at a time rather than to a frame. */
export interface TimedAction {
  /** So long after the plan was set. */
  readonly at_ms: number;
  readonly action: Action;
}

type Action =
  | { readonly cut: { readonly principal?: string } }
  | { readonly half_open: { readonly principal?: string } }
  | { readonly go_away: { readonly principal?: string; readonly window_ms?: number } }
  | { readonly new_epoch: { readonly channel: string } };

/** Rules and actions whose chances are drawn from one seed. */
export interface Plan {
  readonly seed?: number;
  readonly rules?: readonly (Rule & { readonly name: string })[];
  readonly actions?: readonly TimedAction[];
}

/** What a rule has done: frames that it matched while it was on, and those that it struck. */
export interface Tally {
  readonly matched: number;
  readonly struck: number;
}

/** The names of effects and actions. */
export type EffectKind =
  | "cut"
  | "half_open"
  | "drop"
  | "duplicate"
  | "delay"
  | "reorder"
  | "hold"
  | "reject"
  | "go_away"
  | "new_epoch";

/** Something that was done. */
export interface Strike {
  readonly at_ms: number;
  readonly conn?: number;
  readonly principal?: string;
  readonly direction?: "up" | "down";
  readonly frame?: FrameKind;
  readonly channel?: string;
  readonly seq?: number;
  readonly n?: number;
  readonly effect: EffectKind;
  readonly rule?: string;
}

/** A plan as it became, and what came of it; `set` does the same again. */
export interface Replay {
  readonly version: 1;
  readonly plan: Required<Plan>;
  readonly elapsed_ms: number;
  /** By rule, in the plan's order. */
  readonly tallies: readonly Tally[];
  readonly struck: readonly Strike[];
  /** Strikes beyond the first 10,000. */
  readonly unrecorded: number;
}

/** A rule that is on, until it is ended. */
export interface Fault extends AsyncDisposable {
  readonly name: string;
  /** How many frames it has struck so far. */
  struck(): Promise<number>;
  /** It strikes no more. Does nothing when it has ended already. */
  end(): Promise<void>;
}

/**
 * The faults of one server. They end with `clear` and with `loseHistory`.
 *
 * Errors: `invalid` says which rule and field is wrong; `server_failed`, that the server is not there.
 */
export class Faults {
  readonly #admin: () => string;
  #made = 0;

  /** @internal Use `startServer`. */
  constructor(admin: () => string) {
    this.#admin = admin;
  }

  /** Adds a rule to what is on. At most 256 until `clear`. */
  async add(rule: Rule): Promise<Fault> {
    const name = rule.name ?? `rule-${++this.#made}`;
    await this.#ask("POST", "/faults/rules", { ...rule, name });
    const end = async (): Promise<void> => {
      await this.#ask("DELETE", `/faults/rules/${encodeURIComponent(name)}`).catch(unlessGone);
    };
    return { name, struck: () => this.#struck(name), end, [Symbol.asyncDispose]: end };
  }

  /** Everybody's link breaks, and no other one comes to stand until this ends. The server keeps everything. */
  async offline(): Promise<Fault> {
    const fault = await this.add({ name: `offline-${++this.#made}`, direction: "up", frames: ["hello"], effect: "cut" });
    await this.cut();
    return fault;
  }

  /** Rejects the next change, of a principal or of anybody, with a code that ends a mutation. */
  rejectNext(detail: string, options: { code?: string; principal?: string; channel?: string } = {}): Promise<Fault> {
    const { code = "refused", ...which } = options;
    return this.add({ ...which, next: 1, effect: { reject: { code, detail } } });
  }

  /** Links break without a word: a principal's, or everybody's. */
  async cut(principal?: string): Promise<void> {
    await this.#act({ cut: of(principal) });
  }

  /** Links stay open and go silent: a principal's, or everybody's. */
  async halfOpen(principal?: string): Promise<void> {
    await this.#act({ half_open: of(principal) });
  }

  /** Clients are asked to leave and come back, as by a server that drains. */
  async goAway(principal?: string): Promise<void> {
    await this.#act({ go_away: of(principal) });
  }

  /** The channel's log goes on in a new epoch: everybody subscribes again. At most once in 10 s. */
  async newEpoch(channel: string): Promise<void> {
    await this.#act({ new_epoch: { channel } });
  }

  /** Puts a plan, or that of a replay, in place of what is on. */
  async set(plan: Plan | Replay): Promise<void> {
    await this.#ask("PUT", "/faults", plan);
  }

  /** Ends everything; what was held back comes at once. */
  async clear(): Promise<void> {
    await this.set({});
  }

  /** What is on, and what it did since the plan was set. */
  async replay(): Promise<Replay> {
    return JSON.parse(await this.#ask("GET", "/faults")) as Replay;
  }

  async #struck(name: string): Promise<number> {
    const { plan, tallies } = await this.replay();
    return tallies[plan.rules.findIndex((rule) => rule.name === name)]?.struck ?? 0;
  }

  async #act(action: Action): Promise<void> {
    await this.#ask("POST", "/faults/act", action);
  }

  async #ask(method: string, path: string, body?: object): Promise<string> {
    const { status, text } = await exchange(method, this.#admin() + path, body && JSON.stringify(body));
    if (status < 300) return text;
    const code = status === 404 ? "not_found" : status < 500 ? "invalid" : "server_failed";
    throw new TidewireError(code, text.trim());
  }
}

/** A rule that has ended already, by itself or with its plan, is one that has ended. */
function unlessGone(error: unknown): void {
  if (!(error instanceof TidewireError) || error.code !== "not_found") throw error;
}

function of(principal: string | undefined): { principal?: string } {
  return principal === undefined ? {} : { principal };
}

/** Not `fetch`, which the look-alike browsers of test suites put their own in place of. */
function exchange(method: string, url: string, body: string | undefined): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const failed = (cause: Error): void => {
      reject(new TidewireError("server_failed", `the test server does not answer: ${cause.message}`, { cause }));
    };
    const sent = request(url, { method }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("error", failed).on("end", () => resolve({ status: response.statusCode ?? 500, text }));
    });
    sent.on("error", failed).end(body);
  });
}
