/** Who wants to know when one record, or anything in a collection, looks different. */

import type { Deliveries } from "./listeners.js";

interface Watcher {
  readonly call: () => void;
  active: boolean;
  /** It is called soon: what else happens until then is one call. */
  queued: boolean;
}

interface CollectionWatchers {
  readonly all: Set<Watcher>;
  readonly byId: Map<string, Set<Watcher>>;
}

export class Watchers {
  #collections = new Map<string, CollectionWatchers>();
  #deliveries: Deliveries;

  constructor(deliveries: Deliveries) {
    this.#deliveries = deliveries;
  }

  /** `id` undefined: the whole collection. */
  add(collection: string, id: string | undefined, call: () => void): () => void {
    let own = this.#collections.get(collection);
    if (!own) this.#collections.set(collection, (own = { all: new Set(), byId: new Map() }));
    const { all, byId } = own;
    let set = id === undefined ? all : byId.get(id);
    if (!set) byId.set(id as string, (set = new Set()));
    const watcher: Watcher = { call, active: true, queued: false };
    set.add(watcher);
    return () => {
      watcher.active = false;
      set.delete(watcher);
      if (id !== undefined && set.size === 0 && byId.get(id) === set) byId.delete(id);
      if (all.size === 0 && byId.size === 0 && this.#collections.get(collection) === own) {
        this.#collections.delete(collection);
      }
    };
  }

  /** Queues the watchers of one record. */
  record(collection: string, id: string): void {
    this.#queue(this.#collections.get(collection)?.byId.get(id));
  }

  /**
   * Queues the watchers of the records it is called with, and tells whether there are any; `undefined` when nobody
   * watches one of this collection.
   */
  waker(collection: string): ((id: string) => boolean) | undefined {
    const byId = this.#collections.get(collection)?.byId;
    if (!byId || byId.size === 0) return undefined;
    return (id) => {
      const watchers = byId.get(id);
      this.#queue(watchers);
      return watchers !== undefined;
    };
  }

  /** Calls back for each collection and each record that is watched. */
  each(call: (collection: string, id?: string) => void): void {
    for (const [collection, { all, byId }] of this.#collections) {
      if (all.size > 0) call(collection);
      for (const id of byId.keys()) call(collection, id);
    }
  }

  /** Queues the watchers of a whole collection. */
  collection(collection: string): void {
    this.#queue(this.#collections.get(collection)?.all);
  }

  /** Queues everybody. */
  everything(): void {
    for (const { all, byId } of this.#collections.values()) {
      this.#queue(all);
      for (const set of byId.values()) this.#queue(set);
    }
  }

  /** The view is gone for good: nobody is called any more. */
  end(): void {
    for (const { all, byId } of this.#collections.values()) {
      for (const set of [all, ...byId.values()]) for (const watcher of set) watcher.active = false;
    }
    this.#collections.clear();
  }

  #queue(watchers: Set<Watcher> | undefined): void {
    for (const watcher of watchers ?? []) {
      if (watcher.queued) continue;
      watcher.queued = true;
      this.#deliveries.add(() => {
        watcher.queued = false;
        if (watcher.active) watcher.call();
      });
    }
  }
}
