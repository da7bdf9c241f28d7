/** One mutation's handle, and the flat form in which mutations cross into the core. */

import { checkFunction } from "./checks.js";
import { TidewireError } from "./errors.js";
import { isInteger, toJson } from "./json.js";
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
    checkFunction("the listener", listener);
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
    // The first `queued` brings its id; that it is queued was said before.
    const isNews = status !== this.status;
    this.status = status;
    if (error) this.error = error;
    if (status === "committed") this.#settle(() => this.#resolve());
    else if (error) this.#settle(() => this.#reject(error));
    if (isNews) this.#notify();
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
    if ((typeof by !== "number" && typeof by !== "bigint") || !isInteger(by)) {
      throw new TidewireError("invalid", `increment of ${JSON.stringify(field)} by ${String(by)}: it takes an integer below 2^53, or a bigint of 64 bits`);
    }
    this.#change("inc", collection, id, 1, [field, String(by)]);
  }

  /** Adds what must hold. `view`: how far the view has come. */
  require(preconditions: readonly Precondition<never>[], view: Cursor | undefined): void {
    if (!Array.isArray(preconditions)) throw wrongPrecondition("require", preconditions);
    for (const one of preconditions as unknown[]) {
      const [kind, also, ...more] = typeof one === "object" && one ? Object.keys(one) : [];
      const at = kind === undefined ? undefined : ((one as Given)[kind] as unknown);
      const parts = kind === "equal" ? 4 : 2;
      if (more.length > 0 || (also !== undefined && !(kind === "unchanged" && also === "since")) || !Array.isArray(at) || at.length !== parts) {
        throw wrongPrecondition("a precondition", one);
      }
      const [, , field, value] = at as unknown[];
      if (kind === "exists" || kind === "absent") this.#precondition(kind, at, []);
      else if (kind === "equal") {
        checkName("field name", field);
        this.#precondition("eq", at, [field, toJson(`field ${JSON.stringify(field)}`, value)]);
      } else if (kind === "unchanged") {
        const since = ((one as Given).since ?? view) as Cursor | undefined;
        if (!since) throw new TidewireError("invalid", "`unchanged` needs a view from the server: await ready(), or give `since`");
        const words = [since.epoch, since.seq, since.tag];
        if (!words.every(Number.isSafeInteger)) throw wrongPrecondition("`since`", since);
        this.#precondition("unchanged", at, words.map(String));
      } else throw wrongPrecondition("a precondition", one);
    }
  }

  #precondition(op: string, [collection, id]: readonly unknown[], rest: string[]): void {
    checkName("collection", collection);
    checkName("record id", id);
    this.words.push(op, collection, id, String(rest.length), ...rest);
  }

  /** A field that is `undefined` is one that is not there: `put` leaves it out, `set` removes it. */
  #record(op: "set" | "put", collection: string, id: string, fields: object): void {
    if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
      throw new TidewireError("invalid", `${op} takes an object of fields`);
    }
    const words: string[] = [];
    const gone: string[] = [];
    for (const [name, value] of Object.entries(fields)) {
      checkName("field name", name);
      const what = `field ${JSON.stringify(name)}`;
      if (value !== undefined) words.push(name, toJson(what, value));
      else {
        gone.push(name);
        warnOfVanishing(`${what} of ${op} is undefined`);
      }
    }
    const unsets = op === "set" && gone.length > 0;
    if (words.length > 0 || !unsets) this.#change(op, collection, id, words.length / 2, words);
    if (unsets) this.#change("unset", collection, id, gone.length, gone);
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
    const last = this.keys.at(-1);
    if (last?.collection !== collection || last.id !== id) this.keys.push({ collection, id });
  }
}

type Given = Readonly<Record<string, unknown>>;

function wrongPrecondition(what: string, given: unknown): TidewireError {
  let text: string | undefined;
  try {
    text = JSON.stringify(given);
  } catch {
    // It is told by its type.
  }
  return new TidewireError(
    "invalid",
    `${what} cannot be ${text ?? typeof given}: require takes a list of { exists: [collection, id] }, { absent: … }, ` +
      "{ equal: [collection, id, field, value] } and { unchanged: [collection, id], since? }",
  );
}

/** Runs the function of a batch, which is done when it returns. */
export function runBuild<S extends object>(build: (tx: Writer<S, void>) => void, list: ChangeList): void {
  checkFunction("what builds a batch", build);
  const returned = build(list as unknown as Writer<S, void>) as unknown;
  if (typeof (returned as PromiseLike<unknown> | undefined)?.then === "function") {
    throw new TidewireError("invalid", "batch takes a function that is done when it returns, not an async one");
  }
}

function checkName(what: string, name: unknown): asserts name is string {
  if (!isName(name)) {
    throw new TidewireError("invalid", `${what} must be a string without lone surrogates`);
  }
}
