// Short messages at the edge of the screen. At most NOTICES_MAX stand at a time; the oldest gives way.

import { Store } from "./store.ts";

export interface Notice {
  id: number;
  tone: "bad" | "note";
  title: string;
  detail?: string;
  /** Offered as a button; the notice goes when it is used. */
  action?: { label: string; run: () => void };
}

const NOTICES_MAX = 4;

export class Notices {
  readonly store = new Store<readonly Notice[]>([]);
  #next = 1;

  show(notice: Omit<Notice, "id">): void {
    const shown = { ...notice, id: this.#next++ };
    this.store.set([...this.store.value, shown].slice(-NOTICES_MAX));
  }

  dismiss(id: number): void {
    this.store.set(this.store.value.filter((notice) => notice.id !== id));
  }
}
