/**
 * A filtered, sorted part of a collection. It looks again only at records that changed, and its
 * array is the same one while none of those mattered.
 */

import { same } from "./json.js";
import type { Collection } from "./records.js";
import { compareIds } from "./records.js";
import type { SelectOptions, SortKey } from "./types.js";

type Options = SelectOptions<Record<string, unknown>>;

interface Row {
  readonly id: string;
  readonly key: SortKey;
  readonly record: object;
}

export class Selection {
  #collection: Collection;
  #options: Options;
  #matches: (record: Record<string, unknown>) => boolean;
  #keyOf: (record: Record<string, unknown>) => SortKey;
  #rows: Row[] = [];
  #byId = new Map<string, Row>();
  #items: readonly object[];
  #version: number | undefined;

  /** `before`: what its reader had last, kept if this one selects the same. */
  constructor(collection: Collection, options: Options, before: readonly object[]) {
    this.#collection = collection;
    this.#options = options;
    this.#items = before;
    this.#matches = matcher(options.filter);
    this.#keyOf = keyReader(options.sortBy);
  }

  /** Whether these options mean this selection. */
  is(collection: Collection, options: Options): boolean {
    return (
      this.#collection === collection &&
      this.#options.sortBy === options.sortBy &&
      (this.#options.descending ?? false) === (options.descending ?? false) &&
      sameFilter(this.#options.filter, options.filter)
    );
  }

  /** What it selected when it was last asked. */
  get latest(): readonly object[] {
    return this.#items;
  }

  items(): readonly object[] {
    const version = this.#collection.version;
    if (version === this.#version) return this.#items;
    const changed = this.#version === undefined ? undefined : this.#collection.since(this.#version);
    if (changed ? this.#catchUp(changed) : this.#rebuild()) {
      this.#items = this.#rows.map((row) => row.record);
    }
    this.#version = version;
    return this.#items;
  }

  #rebuild(): boolean {
    const rows: Row[] = [];
    for (const id of this.#collection.ids()) {
      const row = this.#row(id);
      if (row) rows.push(row);
    }
    rows.sort((a, b) => this.#compare(a, b));
    const same =
      rows.length === this.#items.length && rows.every((row, at) => row.record === this.#items[at]);
    this.#rows = rows;
    this.#byId = new Map(rows.map((row) => [row.id, row]));
    return !same;
  }

  #catchUp(changed: Iterable<string>): boolean {
    let moved = false;
    for (const id of changed) {
      const before = this.#byId.get(id);
      const after = this.#row(id);
      if (before?.record === after?.record) continue;
      moved = true;
      if (before) this.#rows.splice(this.#position(before), 1);
      if (after) {
        this.#rows.splice(this.#position(after), 0, after);
        this.#byId.set(id, after);
      } else {
        this.#byId.delete(id);
      }
    }
    return moved;
  }

  #row(id: string): Row | undefined {
    const record = this.#collection.get(id) as Record<string, unknown> | undefined;
    if (!record || !this.#matches(record)) return undefined;
    return { id, key: sortable(this.#keyOf(record)), record };
  }

  #position(row: Row): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(this.#rows[middle] as Row, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compare(a: Row, b: Row): number {
    const byKey = compareKeys(a.key, b.key);
    if (byKey !== 0) return this.#options.descending && a.key != null && b.key != null ? -byKey : byKey;
    return compareIds(a.id, b.id);
  }
}

/** How many selections `select` keeps up to date per channel. */
const SELECTIONS_MAX = 64;

/** The selections of one reader, found again by their options; the one used longest ago makes room. */
export class Selections {
  #max: number;
  #kept: Selection[] = [];

  constructor(max: number = SELECTIONS_MAX) {
    this.#max = max;
  }

  items(collection: Collection, options: Options): readonly object[] {
    const at = this.#kept.findIndex((selection) => selection.is(collection, options));
    const selection = this.#kept[at] ?? new Selection(collection, options, this.#kept[0]?.latest ?? []);
    if (at !== 0 || this.#kept.length === 0) {
      if (at > 0) this.#kept.splice(at, 1);
      this.#kept.unshift(selection);
      this.#kept.length = Math.min(this.#kept.length, this.#max);
    }
    return selection.items();
  }

  clear(): void {
    this.#kept = [];
  }
}

function matcher(filter: Options["filter"]): (record: Record<string, unknown>) => boolean {
  if (filter === undefined) return () => true;
  if (typeof filter === "function") return filter;
  const wanted = Object.entries(filter);
  return (record) => wanted.every(([name, value]) => same(own(record, name), value));
}

function keyReader(sortBy: Options["sortBy"]): (record: Record<string, unknown>) => SortKey {
  if (sortBy === undefined) return () => undefined;
  if (typeof sortBy === "function") return sortBy;
  return (record) => own(record, sortBy) as SortKey;
}

/** A field, and not what every object has under that name. */
function own(record: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

function sameFilter(a: Options["filter"], b: Options["filter"]): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object") return false;
  const fields = Object.entries(a);
  return (
    fields.length === Object.keys(b).length &&
    fields.every(([name, value]) => Object.hasOwn(b, name) && same(value, b[name]))
  );
}

/**
 * What cannot be ordered counts as absent. Values come from whoever may write: comparing an object
 * calls its `toString`, which may be a field with anything in it.
 */
function sortable(key: SortKey): SortKey {
  if (Number.isNaN(key)) return undefined;
  return typeof key === "object" && !(key instanceof Date) ? undefined : key;
}

/** Numbers before strings before the rest, absent ones last: some order for any mixture. */
function compareKeys(a: SortKey, b: SortKey): number {
  const rank = rankOf(a) - rankOf(b);
  if (rank !== 0 || a == null || b == null) return rank;
  if (a < b) return -1;
  return a > b ? 1 : 0;
}

function rankOf(key: SortKey): number {
  if (key == null) return 3;
  if (typeof key === "number" || typeof key === "bigint") return 0;
  return typeof key === "string" ? 1 : 2;
}
