/** Records that a server rendered with, for the time until the page has a view of its own. */

import type { Channel } from "./channel.js";
import { hasView } from "./first-view.js";
import { Collection, compareIds } from "./records.js";
import type { Selections } from "./selection.js";
import type { CollectionName, RecordOf, SelectOptions } from "./types.js";

/** Records as JSON, by channel, collection and id: `{ "board:main": { cards: { c1: { title: "…" } } } }`. */
export interface Initial {
  readonly [channel: string]: Records;
}

type Records = Readonly<Record<string, Readonly<Record<string, object | undefined>>>>;

/** Those of all channels, as one page was given them. */
export class Initials {
  #channels = new Map<string, InitialRecords<object>>();

  constructor(initial: Initial) {
    for (const [name, records] of Object.entries(initial)) this.#channels.set(name, new InitialRecords(records));
  }

  of<S extends object, P>(channel: Channel<S, P>): InitialRecords<S> | undefined {
    return this.#channels.get(channel.name) as InitialRecords<S> | undefined;
  }
}

/** Those of one channel. */
export class InitialRecords<S extends object> {
  #records: Records;
  #collections = new Map<string, Collection>();
  #over = false;

  constructor(records: Records) {
    this.#records = records;
  }

  /** Whether to read these: until there is a view, and never again after it. */
  isFor<P>(channel: Channel<S, P>): boolean {
    this.#over ||= hasView(channel);
    return !this.#over;
  }

  get<C extends CollectionName<S>>(collection: C, id: string): RecordOf<S, C> | undefined {
    return this.#collection(collection).get(id) as RecordOf<S, C> | undefined;
  }

  selectIn<C extends CollectionName<S>>(
    selections: Selections,
    collection: C,
    options: SelectOptions<RecordOf<S, C>>,
  ): readonly RecordOf<S, C>[] {
    type Options = SelectOptions<Record<string, unknown>>;
    const items = selections.items(this.#collection(collection), options as unknown as Options);
    return items as readonly RecordOf<S, C>[];
  }

  #collection(name: string): Collection {
    let collection = this.#collections.get(name);
    if (!collection) {
      const given = Object.entries(Object.hasOwn(this.#records, name) ? (this.#records[name] ?? {}) : {});
      const records = new Map(given.filter(([, record]) => record !== undefined));
      const ids = [...records.keys()].sort(compareIds);
      collection = new Collection(name, {
        record: (_, id) => JSON.stringify(records.get(id)),
        has: (_, id) => records.has(id),
        ids: () => ids,
        follow: () => {},
      });
      this.#collections.set(name, collection);
    }
    return collection;
  }
}
