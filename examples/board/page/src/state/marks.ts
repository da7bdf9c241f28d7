// What this tab has under way per card: changes that the server has not confirmed, and the last refusal.

import { Store } from "./store.ts";

export interface Refusal {
  code: string;
  /** The server's words. */
  reason: string;
}

export interface Mark {
  /** Changes shown but not yet confirmed. */
  pending: number;
  refusal?: Refusal;
}

const UNMARKED: Mark = Object.freeze({ pending: 0 });

export class Marks {
  readonly store = new Store<ReadonlyMap<string, Mark>>(new Map());

  of(card: string): Mark {
    return this.store.value.get(card) ?? UNMARKED;
  }

  /** A change was made; an older refusal is history. */
  begin(card: string): void {
    this.#put(card, { pending: this.of(card).pending + 1 });
  }

  confirm(card: string): void {
    const { pending, ...rest } = this.of(card);
    this.#put(card, { ...rest, pending: pending - 1 });
  }

  refuse(card: string, refusal: Refusal): void {
    this.#put(card, { pending: this.of(card).pending - 1, refusal });
  }

  dismiss(card: string): void {
    this.#put(card, { pending: this.of(card).pending });
  }

  #put(card: string, mark: Mark): void {
    const next = new Map(this.store.value);
    if (mark.pending > 0 || mark.refusal) next.set(card, Object.freeze(mark));
    else next.delete(card);
    this.store.set(next);
  }
}

export const markOf =
  (card: string) =>
  (marks: ReadonlyMap<string, Mark>): Mark =>
    marks.get(card) ?? UNMARKED;

export const pendingCount = (marks: ReadonlyMap<string, Mark>): number => {
  let count = 0;
  for (const mark of marks.values()) count += mark.pending;
  return count;
};
