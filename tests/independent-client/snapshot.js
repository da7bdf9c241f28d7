// A snapshot that arrives. It is whole once its end has come and count and digest fit.

import { Document } from "./document.js";

export class Snapshot {
  base = new Document();

  constructor({ cursor, known, head, proof }) {
    if (!head || head.epoch !== cursor.epoch || head.seq < cursor.seq) throw new Error("a snapshot that does not name its head");
    Object.assign(this, { cursor, known, head, proof });
  }

  add(records) {
    records.forEach((record) => this.base.put(record));
  }

  isWhole({ records, digest }) {
    return this.base.size === records && this.base.digest() === digest;
  }
}
