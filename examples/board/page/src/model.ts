// What a board is made of. The server checks the same rules and has the last word.

import type { Channel, RecordOf, SelectOptions } from "tidewire";

export type CardRecord = {
  title: string;
  /** The id of the column it stands in. */
  column: string;
  /** Where in the column: ascending, any finite number. */
  order: number;
  /** Who wrote it. */
  by: string;
};

export type ColumnRecord = {
  title: string;
  order: number;
  locked?: boolean;
};

/** The collections of a board channel. */
export type BoardData = {
  cards: CardRecord;
  columns: ColumnRecord;
};

/** What each visitor tells about themselves while they are here. */
export type Here = {
  name: string;
  color: string;
  /**
   * `x` counts columns: 1.5 is the middle of the second one. `y` is in CSS pixels from the top of that
   * column's list, as if it were not scrolled. So a pointer means the same card on a phone and on a wall.
   */
  cursor?: { x: number; y: number };
  /** The card being edited. */
  card?: string;
};

export type BoardChannel = Channel<BoardData, Here>;

/** A card as it is read: frozen, with its id. */
export type Card = RecordOf<BoardData, "cards">;

/** A column likewise. */
export type ColumnOf = RecordOf<BoardData, "columns">;

/** The cards of one column from top to bottom. */
export const inColumn = (column: string) =>
  ({ filter: { column }, sortBy: "order" }) satisfies SelectOptions<Card>;

export const TITLE_MAX = 80;

/** Counts what the server counts: characters, not UTF-16 units. */
export const titleLength = (title: string): number => [...title.trim()].length;

/**
 * An order between two neighbours, `undefined` being the end of the list.
 * `undefined` as a result: no number is left between them, and the column must be numbered anew.
 */
export function orderBetween(before: number | undefined, after: number | undefined): number | undefined {
  if (before === undefined) return after === undefined ? 1 : after - 1;
  if (after === undefined) return before + 1;
  const middle = before + (after - before) / 2;
  return before < middle && middle < after ? middle : undefined;
}
