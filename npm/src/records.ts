/**
 * The cache of what was read: one deeply frozen object per record, the same one until the record
 * changes. The document itself stays in the core; only what the application looks at is made.
 */

/** Reads one channel's document. Nothing is there while the channel is not open. */
export interface DocumentReader {
  /** A record as JSON text. */
  record(collection: string, id: string): string | undefined;
  has(collection: string, id: string): boolean;
  /** From now on every change in the collection is told, not only those of records that were read. */
  follow(collection: string): void;
  /** Sorted by code point. */
  ids(collection: string): readonly string[];
}

interface Entry {
  /** Kept so that a record that changed back, or was only reported again, keeps its identity. */
  text: string;
  value: object;
  fresh: boolean;
}

/** How many changed ids a collection remembers for those who catch up; who is further behind reads anew. */
const CHANGES_MAX = 4096;

/** How many records that changed and were not read again keep their old object; then all of those go. */
const STALE_MAX = 1024;

/** One collection's cache, its sorted ids, and which records changed lately. */
export class Collection {
  readonly name: string;
  #reader: DocumentReader;
  #entries = new Map<string, Entry>();
  /** Ids whose entry is not fresh: deleted records, and those that nobody looks at any more. */
  #stale = new Set<string>();
  #changes: string[] = [];
  #dropped = 0;
  #ids: readonly string[] | undefined;
  #idsVersion = 0;

  constructor(name: string, reader: DocumentReader) {
    this.name = name;
    this.#reader = reader;
  }

  /** Counts changes; the same number means that nothing changed. */
  get version(): number {
    return this.#dropped + this.#changes.length;
  }

  /** Notes that a record looks different now. */
  changed(id: string): void {
    const entry = this.#entries.get(id);
    if (entry?.fresh) {
      entry.fresh = false;
      this.#stale.add(id);
      if (this.#stale.size > STALE_MAX) this.#dropStale();
    }
    this.#changes.push(id);
    if (this.#changes.length > CHANGES_MAX) {
      this.#dropped += this.#changes.splice(0, CHANGES_MAX / 2).length;
    }
  }

  /** Which records changed since `version`, each once; `undefined` when that is no longer known. */
  since(version: number): Iterable<string> | undefined {
    if (version < this.#dropped) return undefined;
    return new Set(this.#changes.slice(version - this.#dropped));
  }

  get(id: string): object | undefined {
    const entry = this.#entries.get(id);
    if (entry?.fresh) return entry.value;
    this.#stale.delete(id);
    const text = this.#reader.record(this.name, id);
    if (text === undefined) {
      this.#entries.delete(id);
      return undefined;
    }
    if (entry && entry.text === text) {
      entry.fresh = true;
      return entry.value;
    }
    const value = parseRecord(text, id);
    this.#entries.set(id, { text, value, fresh: true });
    return value;
  }

  #dropStale(): void {
    for (const id of this.#stale) this.#entries.delete(id);
    this.#stale.clear();
  }

  /** The same array until a record comes or goes. */
  ids(): readonly string[] {
    const version = this.version;
    if (this.#ids && this.#idsVersion === version) return this.#ids;
    const changed = this.#ids && this.since(this.#idsVersion);
    if (!this.#ids) this.#reader.follow(this.name);
    this.#ids = changed && this.#ids ? this.#catchUp(this.#ids, changed) : this.#reader.ids(this.name);
    this.#idsVersion = version;
    return this.#ids;
  }

  #catchUp(ids: readonly string[], changed: Iterable<string>): readonly string[] {
    let next: string[] | undefined;
    for (const id of changed) {
      const known = next ?? ids;
      const at = position(known, id);
      const exists = this.#reader.has(this.name, id);
      if (exists === (known[at] === id)) continue;
      next ??= [...ids];
      if (exists) next.splice(at, 0, id);
      else next.splice(at, 1);
    }
    return next ?? ids;
  }
}

/** Where an id is in a sorted array, or would have to be. */
function position(ids: readonly string[], id: string): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareIds(ids[middle] as string, id) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Orders ids by code point, as the core does. `<` alone orders by UTF-16 unit. */
export function compareIds(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const unitA = a.charCodeAt(at);
    const unitB = b.charCodeAt(at);
    if (unitA !== unitB) return codePointRank(unitA) - codePointRank(unitB);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above all others, yet their units lie below U+E000. */
function codePointRank(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

function parseRecord(text: string, id: string): object {
  // `JSON.parse` makes `__proto__` a plain property; nothing here copies properties by assignment.
  const record = JSON.parse(text) as object;
  if (!Object.hasOwn(record, "id")) Object.defineProperty(record, "id", { value: id });
  return freeze(record);
}

/** Freezes a parsed value, at most as deep as the protocol lets values be. */
export function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }
  return value;
}
