// A channel's document: records of named fields, each field JSON text that nobody parses, save for `inc`.
// Order is that of the names' UTF-8 bytes throughout.

const bytewise = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const INTEGER = /^-?\d+$/;

export class Document {
  /** `collection NUL id` → field name → JSON text. No name may contain a NUL. */
  #records;

  constructor(records = new Map()) {
    this.#records = records;
  }

  get size() {
    return this.#records.size;
  }

  copy() {
    return new Document(new Map([...this.#records].map(([key, fields]) => [key, new Map(fields)])));
  }

  /** Adds a record as a snapshot or a `put` carries it. */
  put(record) {
    this.#records.set(keyOf(record), new Map(record.fields.map((field) => [field.name, textOf(field)])));
  }

  /** Applies what the server says: results, which hold whatever was there before. */
  apply({ put, del, clear, merge }) {
    if (put) this.put(put);
    else if (del) this.#records.delete(keyOf(del));
    else if (clear) this.#records.clear();
    else if (merge) this.#merge(merge, merge.fields, merge.unset);
    else throw new Error("an op of an unknown kind");
  }

  /** Shows what an intent would do. One that cannot apply shows nothing. */
  predict({ set, unset, put, del, inc }) {
    if (put) this.put(put);
    else if (del) this.#records.delete(keyOf(del));
    else if (set) this.#merge(set, set.fields, []);
    else if (unset) this.#merge(unset, [], unset.fields);
    else if (inc) {
      const now = this.#records.get(keyOf(inc))?.get(inc.field) ?? "0";
      if (!INTEGER.test(now)) return;
      const sum = BigInt(now) + BigInt(inc.by);
      if (BigInt.asIntN(64, sum) === sum) this.#merge(inc, [{ name: inc.field, value: String(sum) }], []);
    }
  }

  #merge(ref, fields, unset) {
    const record = this.#records.get(keyOf(ref));
    if (!record) return;
    for (const field of fields) record.set(field.name, textOf(field));
    for (const name of unset) record.delete(name);
  }

  field(collection, id, name) {
    return this.#records.get(keyOf({ collection, id }))?.get(name);
  }

  /** Records and fields in order: two documents are equal iff these texts are. */
  canonical() {
    return JSON.stringify([...this.#sorted()].map(([collection, id, fields]) => [collection, id, fields]));
  }

  /** FNV-1a, 64 bit, as `snapshot_end` carries it. */
  digest() {
    let hash = 0xcbf29ce484222325n;
    const take = (text) => {
      for (const byte of [...Buffer.from(text), 0]) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
    };
    for (const [collection, id, fields] of this.#sorted()) {
      [collection, id].forEach(take);
      fields.flat().forEach(take);
    }
    return hash;
  }

  *#sorted() {
    // NUL sorts before every other byte, so the joined key is in order of (collection, id).
    for (const key of [...this.#records.keys()].sort(bytewise)) {
      const fields = [...this.#records.get(key)].sort(([a], [b]) => bytewise(a, b));
      yield [...key.split("\0"), fields];
    }
  }
}

function keyOf({ collection, id }) {
  return `${collection}\0${id}`;
}

function textOf({ value }) {
  return Buffer.from(value).toString("utf8");
}
