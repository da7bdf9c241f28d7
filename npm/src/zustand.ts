/**
 * A Zustand store that mirrors collections of a channel. What the application sets on a mirrored key
 * becomes one mutation; everything else in the store stays local.
 *
 * The channel is the truth: a mirrored key that storage, devtools or anything else but the store's own
 * `setState` sets is put right at once, and makes no mutation.
 */

import type { StateCreator, StoreMutatorIdentifier } from "zustand/vanilla";

import type { Channel } from "./channel.js";
import { reportUncaught, TidewireError } from "./errors.js";
import { same } from "./json.js";
import type { ChannelEvents, CollectionName, RecordOf, Writer } from "./types.js";
import { warnOfStaleSet } from "./warn.js";

/** A collection as a store shows it: records by id. The same object until one of them looks different. */
export type Records<S extends object, C extends CollectionName<S>> = { readonly [id: string]: RecordOf<S, C> };

/** The part of a store's state that mirrors a channel: `Mirrors<Board, { cards: "cards" }>`. */
export type Mirrors<S extends object, K extends Readonly<Record<string, CollectionName<S>>>> = {
  [Key in keyof K]: Records<S, K[Key]>;
};

type Mutators = [StoreMutatorIdentifier, unknown][];
type Fields = Readonly<Record<string, unknown>>;
type Mirror = Readonly<Record<string, Fields>>;
type Rows = ReadonlyMap<string, Fields>;
type State = Record<string, unknown>;

/** What every store has, whichever middleware is around it. */
interface Store {
  getState: () => State;
  setState: (partial: unknown, replace?: boolean, ...rest: unknown[]) => unknown;
  subscribe: (...args: unknown[]) => () => void;
}

/**
 * What a mirrored key shows before there is anything. It is part of the store's initial state, whenever
 * that is made, so that a page hydrates to what its server rendered; and to set it means nothing, so
 * that `set(store.getInitialState(), true)` deletes no records.
 */
const NOT_YET: Mirror = Object.freeze(Object.create(null) as Mirror);

/**
 * Mirrors that this module made, so that `localPart` knows them without being told their names, and what they
 * show: to read that in a mirror itself would be noted.
 */
const mirrors = new WeakMap<object, Rows>([[NOT_YET, new Map()]]);

/** Records that mirrors have shown: one that is set again was not edited. */
const shown = new WeakSet<object>();

/** How many mirrors that the application read are remembered, for a `set` that begins with one of them. */
const RECENT_MAX = 8;

/**
 * Makes a store's state mirror collections of a channel: `keys` maps names in the state to collections.
 *
 * ```ts
 * const useBoard = create(
 *   tidewire(board, { cards: "cards" }, (set) => ({
 *     rename: (id: string, title: string) =>
 *       set(({ cards }) => ({ cards: { ...cards, [id]: { ...cards[id]!, title } } })),
 *   })),
 * );
 * ```
 *
 * `set` compares mirrored keys with the state that they were made from, record by record and field by field, and
 * makes one mutation of the difference. Give it a function, which is given the present state. An object that was
 * spread from an older state, as across an `await`, changes what was edited in it and deletes what was left out of
 * it; what others did meanwhile stays. `set(state, true)` replaces whole collections.
 *
 * `set` throws what `channel.batch` throws, and then nothing was set. A mutation that is not committed is told by the
 * channel's events (`rejected` and the other ends), and the state goes back; if nobody listens to that event, it is
 * reported as an uncaught error is.
 * While anybody is subscribed to the store the channel is in use; 5 seconds later it is let go.
 * A mirror is a plain object, made anew once for all that arrives together, and only while somebody is
 * subscribed or reads: some 0.1 ms for 1,000 records. Where that is too much, `useCollection` does without.
 *
 * Middleware goes around it, but `immer` inside: `devtools(tidewire(board, keys, immer(…)))`. With
 * `persist` add `partialize: localPart`. Without a state type, `set` knows the mirrored keys only;
 * `create<State>()(tidewire(…))` gives it all of them.
 */
export function tidewire<
  S extends object,
  P,
  const K extends Readonly<Record<string, CollectionName<S>>>,
  T extends Mirrors<S, K>,
  Mps extends Mutators = [],
  Mcs extends Mutators = [],
>(
  channel: Channel<S, P>,
  keys: K,
  // Where no state type is given there is nothing local in it: the other signature.
  initializer: [Exclude<keyof T, keyof K>] extends [never] ? never : StateCreator<T, Mps, Mcs, Omit<T, keyof K>>,
): StateCreator<T, Mps, Mcs>;
export function tidewire<
  S extends object,
  P,
  const K extends Readonly<Record<string, CollectionName<S>>>,
  U extends object,
  Mps extends Mutators = [],
  Mcs extends Mutators = [],
>(
  channel: Channel<S, P>,
  keys: K,
  initializer: StateCreator<Mirrors<S, K>, Mps, Mcs, U>,
): StateCreator<Mirrors<S, K> & U, Mps, Mcs>;
export function tidewire<S extends object, P>(
  channel: Channel<S, P>,
  keys: Readonly<Record<string, CollectionName<S>>>,
  initializer: unknown,
): unknown {
  const create = (setState: Store["setState"], _: unknown, store: Store): State => {
    const mirror = new Mirrored(channel as unknown as Channel<Record<string, object>>, keys, setState, store);
    const local = (initializer as (...args: unknown[]) => State)(store.setState, store.getState, store);
    return { ...local, ...mirror.initial() };
  };
  return create;
}

/** A state without what mirrors a channel: `persist(tidewire(…), { name, partialize: localPart })`. */
export function localPart<T extends object>(state: T): T {
  const local = Object.entries(state).filter(([, value]) => !mirrors.has(value as object));
  return Object.fromEntries(local) as T;
}

/** Stands between one store and one channel. */
class Mirrored {
  #channel: Channel<Record<string, object>>;
  #keys: [string, string][];
  #set: Store["setState"];
  #state: () => State | undefined;
  #rows = new Map<string, readonly unknown[]>();
  /** By key: the mirror that was read last in this turn of the event loop, and those that were read lately. */
  #read = new Map<string, Mirror>();
  #recent = new Map<string, readonly Mirror[]>();
  #mirrors: Record<string, Mirror> = {};
  #uses = 0;
  #stops: (() => void)[] = [];
  /** While the state is being set by this, nothing in it is to be put right. */
  #setting = false;

  constructor(channel: Channel<Record<string, object>>, keys: object, set: Store["setState"], store: Store) {
    this.#channel = channel;
    this.#keys = Object.entries(keys) as [string, string][];
    this.#set = set;
    const { getState, subscribe } = store;
    this.#state = getState;
    subscribe(() => this.#putRight());
    store.setState = (partial, replace, ...rest) => this.#change(partial, replace, rest);
    // Unless somebody subscribes nothing is watched: whoever reads finds the present all the same.
    store.getState = () => {
      this.#putRight();
      return getState();
    };
    store.subscribe = (...args) => {
      this.#use();
      const stop = subscribe(...args);
      let stopped = false;
      return () => {
        stop();
        if (!stopped) this.#letGo();
        stopped = true;
      };
    };
  }

  /** What mirrored keys show before they are read. */
  initial(): Record<string, Mirror> {
    return Object.fromEntries(this.#keys.map(([key]) => [key, NOT_YET]));
  }

  /** What mirrored keys show now: the same objects where nothing changed. */
  current(): Record<string, Mirror> {
    for (const [key, collection] of this.#keys) {
      const rows = this.#channel.select(collection);
      if (this.#rows.get(key) === rows) continue;
      this.#rows.set(key, rows);
      const ids = this.#channel.ids(collection);
      const records = new Map(rows.map((record, at) => [ids[at] as string, record as Fields]));
      // No prototype: an id may be any string, such as `constructor`.
      const mirror = Object.create(null) as Record<string, Fields>;
      let first = true;
      for (const [id, record] of records) {
        shown.add(record);
        // Whoever spreads or looks through a mirror reads its first record, and so is known to begin with this one.
        if (first) Object.defineProperty(mirror, id, { enumerable: true, get: () => (this.#note(key, mirror), record) });
        else mirror[id] = record;
        first = false;
      }
      mirrors.set(Object.freeze(mirror), records);
      this.#mirrors = { ...this.#mirrors, [key]: mirror };
    }
    return this.#mirrors;
  }

  #note(key: string, mirror: Mirror): void {
    if (this.#read.get(key) === mirror) return;
    if (this.#read.size === 0) queueMicrotask(() => this.#read.clear());
    this.#read.set(key, mirror);
    const others = (this.#recent.get(key) ?? []).filter((one) => one !== mirror);
    this.#recent.set(key, [mirror, ...others].slice(0, RECENT_MAX));
  }

  #putRight(): void {
    const state = this.#state();
    if (this.#setting || !state) return;
    const current = this.current();
    if (this.#keys.every(([key]) => state[key] === current[key])) return;
    this.#setting = true;
    try {
      this.#set(current);
    } finally {
      this.#setting = false;
    }
  }

  #change(partial: unknown, replace: boolean | undefined, rest: unknown[]): unknown {
    this.#putRight();
    const state = this.#state() ?? {};
    const next = (typeof partial === "function" ? partial(state) : partial) as State;
    if (typeof next !== "object" || next === null) {
      throw new TidewireError("invalid", "set takes an object or a function that returns one; immer goes inside: tidewire(channel, keys, immer(…))");
    }
    const changed = this.#keys.filter(([key]) => Object.hasOwn(next, key) && next[key] !== state[key] && next[key] !== NOT_YET);
    // An older mirror among other things was spread with them. Alone it was meant, as undo does.
    const meant = replace === true || Object.keys(next).every((key) => changed.some(([own]) => own === key));
    this.#setting = true;
    try {
      const changes = changed.flatMap(([key, collection]) => {
        const present = mirrors.get(state[key] as Mirror) as Rows;
        const given = next[key] as Mirror;
        const older = typeof given === "object" && given !== null ? mirrors.get(given) : undefined;
        if (older && !meant) {
          warnOfStaleSet(key);
          return [];
        }
        const after = older ?? entriesOf(collection, given);
        if (replace === true) return difference(collection, present, after, present);
        // What the older mirror never had may be anybody's.
        if (older) return difference(collection, new Map([...present].filter(([id]) => older.has(id))), after, present);
        const before = this.#base(key, after, present, typeof partial === "function");
        if (before !== present) warnOfStaleSet(key);
        return difference(collection, before, after, present);
      });
      if (changes.length > 0) this.#send((tx) => changes.forEach((change) => change(tx)));
      // Together, so that nobody sees one without the other.
      return this.#set({ ...next, ...this.current() }, replace, ...rest);
    } finally {
      this.#setting = false;
      this.#putRight();
    }
  }

  /** A mutation of which the application has no handle: how it ends, somebody has to hear. */
  #send(build: (tx: Writer<Record<string, object>, void>) => void): void {
    const mutation = this.#channel.batch(build);
    mutation.committed.catch((error: unknown) => {
      if (!this.#channel.hears(mutation.status as keyof ChannelEvents)) reportUncaught(error);
    });
  }

  /**
   * What a state was made from. A mirror that was read in this very turn, if no record is older than it; for a function
   * the state that it was given; else of those that were read lately the one that leaves the fewest changes.
   */
  #base(key: string, after: Rows, present: Rows, given: boolean): Rows {
    const read = this.#read.get(key);
    const now = read && (mirrors.get(read) as Rows);
    this.#read.delete(key);
    for (const rows of given ? [now, present] : [now]) {
      if (rows && [...after].every(([id, record]) => rows.get(id) === record || !shown.has(record))) return rows;
    }
    if (after.size === 0) return now ?? present;
    let best = present;
    let fewest = Number.POSITIVE_INFINITY;
    for (const rows of [present, ...(this.#recent.get(key) ?? []).map((mirror) => mirrors.get(mirror) as Rows)]) {
      const count = changesBetween(rows, after);
      if (count === 0 || count >= fewest) continue;
      best = rows;
      fewest = count;
    }
    return best;
  }

  #use(): void {
    this.#uses += 1;
    if (this.#uses > 1 || this.#channel.status === "closed") return;
    const names = new Set(this.#keys.map(([, collection]) => collection));
    this.#stops = [...names].map((name) => this.#channel.watch(name, () => this.#putRight()));
    this.#putRight();
  }

  #letGo(): void {
    this.#uses -= 1;
    if (this.#uses === 0) for (const stop of this.#stops.splice(0)) stop();
  }
}

type Change = (tx: Writer<Record<string, object>, void>) => void;

function entriesOf(collection: string, after: Mirror): Rows {
  if (typeof after !== "object" || after === null) {
    throw new TidewireError("invalid", `a mirrored key takes records by id: this of "${collection}" is ${after === null ? "null" : typeof after}`);
  }
  return new Map(Object.entries(after));
}

/** How many fields and records differ. */
function changesBetween(before: Rows, after: Rows): number {
  let count = 0;
  for (const [id, record] of after) {
    const known = before.get(id);
    if (record === known) continue;
    if (!known || typeof record !== "object" || record === null) count += 1;
    else for (const name of new Set([...Object.keys(known), ...Object.keys(record)])) if (!same(known[name], record[name])) count += 1;
  }
  for (const id of before.keys()) if (!after.has(id)) count += 1;
  return count;
}

/** What turns one state of a collection into another, as far as it still is to be done. */
function difference(collection: string, before: Rows, after: Rows, present: Rows): Change[] {
  const changes: Change[] = [];
  for (const [id, record] of after) {
    const known = before.get(id);
    if (record === known) continue;
    const fields = fieldsOf(collection, id, record, known);
    if (!known) {
      changes.push((tx) => tx.put(collection, id, fields));
      continue;
    }
    const set = Object.entries(fields).filter(([name, value]) => !Object.hasOwn(known, name) || !same(known[name], value));
    const gone = Object.keys(known).filter((name) => !Object.hasOwn(fields, name));
    if (set.length > 0) changes.push((tx) => tx.set(collection, id, Object.fromEntries(set)));
    if (gone.length > 0) {
      changes.push((tx) => (tx.unset as (...args: string[]) => void)(collection, id, ...gone));
    }
  }
  for (const id of before.keys()) {
    if (!after.has(id) && present.has(id)) changes.push((tx) => tx.delete(collection, id));
  }
  return changes;
}

/** A record's fields. One that is `undefined` is one that goes; an id that only repeats the key is none. */
function fieldsOf(collection: string, id: string, record: unknown, known: Fields | undefined): State {
  if (typeof record !== "object" || record === null) {
    throw new TidewireError("invalid", `record "${id}" of "${collection}" is ${record === null ? "null" : typeof record}: leave the id out to delete it`);
  }
  const repeatsId = (record as Fields).id === id && !(known && Object.keys(known).includes("id"));
  const fields = Object.entries(record).filter(([name, value]) => value !== undefined && !(name === "id" && repeatsId));
  return Object.fromEntries(fields);
}
