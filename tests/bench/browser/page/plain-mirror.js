// The baseline: what one writes by hand for this stream and nothing else. Patches as JSON, an order check, records
// that are changed in place, and a frozen copy of a record only for those who look at it.

export class PlainMirror {
  #records = new Map();
  #snapshots = new Map();
  #watchers = new Map();
  #epoch;
  #at;

  constructor(records, epoch, at) {
    for (const record of records) this.#records.set(record.id, { ...record });
    this.#epoch = epoch;
    this.#at = at;
  }

  receive(text) {
    const touched = new Set();
    for (const { epoch, from, to, id, set } of JSON.parse(text)) {
      if (epoch !== this.#epoch || from !== this.#at) throw new Error("out of order: fetch what is missing");
      this.#at = to;
      const record = this.#records.get(id);
      if (record) Object.assign(record, set);
      else this.#records.set(id, { id, ...set });
      this.#snapshots.delete(id);
      touched.add(id);
    }
    for (const id of touched) {
      for (const wake of this.#watchers.get(id) ?? []) wake();
    }
  }

  watch(id, wake) {
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(wake));
    return () => watchers.delete(wake);
  }

  get(id) {
    let snapshot = this.#snapshots.get(id);
    if (!snapshot) {
      const record = this.#records.get(id);
      if (!record) return undefined;
      this.#snapshots.set(id, (snapshot = Object.freeze({ ...record })));
    }
    return snapshot;
  }
}
