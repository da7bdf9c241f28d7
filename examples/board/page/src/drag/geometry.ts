// Where a point on the screen is on the board. Layout positions only: cards that are still gliding to
// their place count as if they had arrived, so a drop target never flickers.

import type { Place } from "../state/desk.ts";

export interface Point {
  x: number;
  y: number;
}

export const listsOf = (board: HTMLElement): HTMLElement[] => [
  ...board.querySelectorAll<HTMLElement>("[data-list]"),
];

export const cardsOf = (list: HTMLElement): HTMLElement[] => [
  ...list.querySelectorAll<HTMLElement>("[data-card]"),
];

/** The column whose tab is at `point`. */
export function tabAt(point: Point): string | undefined {
  const element = document.elementFromPoint(point.x, point.y);
  return element?.closest<HTMLElement>("[data-tab]")?.dataset["tab"];
}

/** Where a card dropped at `point` would go; `undefined` when there is no column. */
export function placeAt(board: HTMLElement, point: Point, carried: string): Place | undefined {
  const lists = listsOf(board);
  const tab = tabAt(point);
  if (tab !== undefined) {
    const list = lists.find((each) => each.dataset["list"] === tab);
    return list && { column: tab, index: others(list, carried).length };
  }
  let nearest: HTMLElement | undefined;
  let distance = Infinity;
  for (const list of lists) {
    const { left, right } = list.getBoundingClientRect();
    const away = Math.max(left - point.x, point.x - right, 0);
    if (away < distance) [nearest, distance] = [list, away];
  }
  if (!nearest) return undefined;
  const y = point.y - nearest.getBoundingClientRect().top + nearest.scrollTop;
  const index = others(nearest, carried).filter((card) => card.offsetTop + card.offsetHeight / 2 < y).length;
  return { column: nearest.dataset["list"] ?? "", index };
}

const others = (list: HTMLElement, carried: string): HTMLElement[] =>
  cardsOf(list).filter((card) => card.dataset["card"] !== carried);

/** A point in the shared coordinates of `Here.cursor`; `undefined` outside the columns. */
export function toShared(board: HTMLElement, point: Point): Point | undefined {
  const lists = listsOf(board);
  for (const [at, list] of lists.entries()) {
    const { left, right, top, width } = list.getBoundingClientRect();
    if (point.x < left || point.x > right) continue;
    return { x: round(at + (point.x - left) / width, 1000), y: Math.round(point.y - top + list.scrollTop) };
  }
  return undefined;
}

/** The inverse: where a shared point is on this screen, if it can be seen. */
export function fromShared(board: HTMLElement, shared: Point): Point | undefined {
  const list = listsOf(board)[Math.floor(shared.x)];
  if (!list) return undefined;
  const { left, top, width, height } = list.getBoundingClientRect();
  const y = shared.y - list.scrollTop;
  if (y < -80 || y > height) return undefined;
  return { x: left + (shared.x - Math.floor(shared.x)) * width, y: top + y };
}

const round = (value: number, parts: number): number => Math.round(value * parts) / parts;
