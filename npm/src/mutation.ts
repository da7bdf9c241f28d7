/** One mutation's handle, and the flat form in which mutations cross into the core. */

import { TidewireError } from "./errors.js";
import type { Deliveries } from "./listeners.js";
import type { Cursor, Mutation, MutationStatus, Precondition, RecordKey, Writer } from "./types.js";
import { warnOfVanishing } from "./warn.js";

/** What a mutation belongs to, a channel. */
export interface MutationOwner {
  /** Takes it back; `false`: too late. */
  cancel(mutation: MutationHandle): boolean;
}

/** The facade's side of a mutation. */
export class MutationHandle implements Mutation {
  readonly committed: Promise<void>;
  readonly owner: MutationOwner;
  /** The `MutateOptions` of the channel's own schema. */
  readonly options: unknown;
  /** The records that it touches. */
  keys: readonly RecordKey[];
  /** The core's name for it, once it has it. */
  handle: number | undefined;
  /** How many conflicts it has met. */
  conflicts = 0;
  status: MutationStatus = "queued";
  id: string | undefined;
  error: TidewireError | undefined;
  /** Whether the promise has settled. */
  settled = false;

  #resolve!: () => void;
  #reject!: (error: TidewireError) => void;
  #listeners = new Set<{ readonly call: () => void }>();
  #deliveries: Deliveries;

  constructor(owner: MutationOwner, keys: readonly RecordKey[], options: unknown, deliveries: Deliveries) {
    this.owner = owner;
    this.keys = keys;
    this.options = options;
    this.#deliveries = deliveries;
    this.committed = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever does not await it hears of a rejection by `on("rejected")`, not as an unhandled one.
    this.committed.catch(() => {});
  }

  subscribe(listener: () => void): () => void {
    const own = { call: listener };
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  cancel(): boolean {
    return !this.settled && this.owner.cancel(this);
  }

  /** It is made anew, under another id. */
  restart(keys: readonly RecordKey[]): void {
    this.keys = keys;
    this.id = undefined;
    this.handle = undefined;
    this.move("queued");
  }

  /** The core says where it stands now. */
  move(status: MutationStatus, error?: TidewireError): void {
    this.status = status;
    if (error) this.error = error;
    if (status === "committed") this.#settle(() => this.#resolve());
    else if (error) this.#settle(() => this.#reject(error));
    this.#notify();
  }

  /** Nobody will say how it ends. */
  abandon(error: TidewireError): void {
    this.error ??= error;
    this.#settle(() => this.#reject(error));
    this.#notify();
  }

  #settle(settle: () => void): void {
    this.settled = true;
    settle();
  }

  #notify(): void {
    for (const listener of this.#listeners) {
      this.#deliveries.add(() => {
        if (this.#listeners.has(listener)) listener.call();
      });
    }
  }
}

/** A UTF-16 string with half a character in it would not come back from UTF-8 as the same name. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Whether a name survives the way through UTF-8. */
export function isName(name: unknown): name is string {
  return typeof name === "string" && !LONE_SURROGATE.test(name);
}

/**
 * Collects changes in the shape that the core takes: a flat array of strings, for each change
 * `op, collection, id, count` and what the op needs.
 */
export class ChangeList implements Writer<Record<string, object>, void> {
  readonly words: string[] = [];
  readonly keys: RecordKey[] = [];
  #sealed = false;

  /** It is on its way: a later change would be lost, so it throws instead. */
  seal(): void {
    this.#sealed = true;
  }

  set(collection: string, id: string, fields: object): void {
    this.#record("set", collection, id, fields);
  }

  put(collection: string, id: string, fields: object): void {
    this.#record("put", collection, id, fields);
  }

  unset(collection: string, id: string, ...fields: string[]): void {
    for (const name of fields) checkName("field name", name);
    this.#change("unset", collection, id, fields.length, fields);
  }

  delete(collection: string, id: string): void {
    this.#change("del", collection, id, 0, []);
  }

  increment(collection: string, id: string, field: string, by: number | bigint = 1): void {
    checkName("field name", field);
    if (typeof by === "bigint" ? BigInt.asIntN(64, by) !== by : !Number.isSafeInteger(by)) {
      throw new TidewireError("invalid", `increment of ${JSON.stringify(field)} by ${by}: it takes an integer below 2^53, or a bigint of 64 bits`);
    }
    this.#change("inc", collection, id, 1, [field, String(by)]);
  }

  /** Adds what must hold. `view`: how far the view has come. */
  require<S extends object>(preconditions: readonly Precondition<S>[], view: Cursor | undefined): void {
    for (const one of preconditions as readonly Precondition<Record<string, Record<string, unknown>>>[]) {
      if ("exists" in one) this.#precondition("exists", one.exists, []);
      else if ("absent" in one) this.#precondition("absent", one.absent, []);
      else if ("equal" in one) {
        const [, , field, value] = one.equal;
        checkName("field name", field);
        this.#precondition("eq", one.equal, [field, toJson(field, value)]);
      } else {
        const since = one.since ?? view;
        if (!since) throw new TidewireError("invalid", "`unchanged` needs a view from the server: await ready(), or give `since`");
        this.#precondition("unchanged", one.unchanged, [since.epoch, since.seq, since.tag].map(String));
      }
    }
  }

  #precondition(op: string, [collection, id]: readonly [string, string, ...unknown[]], rest: string[]): void {
    checkName("collection", collection);
    checkName("record id", id);
    this.words.push(op, collection, id, String(rest.length), ...rest);
  }

  #record(op: "set" | "put", collection: string, id: string, fields: object): void {
    if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
      throw new TidewireError("invalid", `${op} takes an object of fields`);
    }
    const words: string[] = [];
    for (const [name, value] of Object.entries(fields)) {
      checkName("field name", name);
      words.push(name, toJson(name, value));
    }
    this.#change(op, collection, id, words.length / 2, words);
  }

  #change(op: string, collection: string, id: string, count: number, words: string[]): void {
    checkName("collection", collection);
    checkName("record id", id);
    if (this.#sealed) {
      throw new TidewireError("invalid", "this batch is over: change records only inside its function");
    }
    this.words.push(op, collection, id, String(count));
    // Not `push(...words)`: a record of very many fields would overflow the stack.
    for (const word of words) this.words.push(word);
    this.keys.push({ collection, id });
  }
}

/** Runs the function of a batch, which is done when it returns. */
export function runBuild<S extends object>(build: (tx: Writer<S, void>) => void, list: ChangeList): void {
  const returned = build(list as unknown as Writer<S, void>) as unknown;
  if (typeof (returned as PromiseLike<unknown> | undefined)?.then === "function") {
    throw new TidewireError("invalid", "batch takes a function that is done when it returns, not an async one");
  }
}

function checkName(what: string, name: unknown): void {
  if (!isName(name)) {
    throw new TidewireError("invalid", `${what} must be a string without lone surrogates`);
  }
}

function toJson(name: string, value: unknown): string {
  const field = JSON.stringify(name);
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new TidewireError("invalid", `field ${field} is ${value}, which JSON cannot say: use null or a string`);
  }
  let text: string | undefined;
  try {
    warnOfVanishing(name, value);
    text = JSON.stringify(value);
  } catch (cause) {
    throw new TidewireError("invalid", `field ${field} cannot be turned into JSON: see the cause`, { cause });
  }
  if (text === undefined) {
    throw new TidewireError("invalid", `field ${field} is ${typeof value}, which JSON cannot say: leave it out, or use unset`);
  }
  return text;
}
