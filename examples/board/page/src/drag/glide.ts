// Cards glide to a new place instead of jumping there, whoever moved them.

import { type RefObject, useLayoutEffect } from "react";
import { cardsOf } from "./geometry.ts";

const GLIDE = { duration: 220, easing: "cubic-bezier(.2,.7,.2,1)" } as const;

/** A card's place in the content of the board, which scrolling does not change. */
interface Laid {
  list: string;
  x: number;
  y: number;
  /** It was no longer in its list when that was last laid out. */
  gone?: boolean;
}

/** Where every card was when it was last laid out. */
export class Places {
  readonly #places = new Map<string, Laid>();

  /** The floating card is put down at `from`: it glides from there. */
  startFrom(card: string, from: { left: number; top: number }, list: HTMLElement, board: HTMLElement): void {
    const origin = board.getBoundingClientRect();
    const x = from.left - origin.left + board.scrollLeft;
    this.#places.set(card, { list: "", x, y: from.top - origin.top + list.scrollTop });
  }

  /** Notes where the cards of a list are, and lets those that moved glide there. */
  settle(list: HTMLElement, board: HTMLElement, still: boolean): void {
    const id = list.dataset["list"] ?? "";
    const [inner, outer] = [list.getBoundingClientRect(), board.getBoundingClientRect()];
    const origin = { x: inner.left - outer.left + board.scrollLeft, y: inner.top - outer.top };
    this.#forgetGone(id, list);
    for (const element of cardsOf(list)) {
      const card = element.dataset["card"] ?? "";
      const before = this.#places.get(card);
      const now = { list: id, x: origin.x + element.offsetLeft, y: origin.y + element.offsetTop };
      this.#places.set(card, now);
      if (!before || still) continue;
      const way = { x: before.x - now.x, y: before.y - now.y };
      if (Math.abs(way.x) + Math.abs(way.y) < 1) continue;
      if (before.list === id) glide(element, way);
      else fly(element, way);
    }
  }

  /** A card that left a list may be on its way to another one; only at the second look it is gone. */
  #forgetGone(id: string, list: HTMLElement): void {
    const here = new Set(cardsOf(list).map((element) => element.dataset["card"]));
    for (const [card, laid] of this.#places) {
      if (laid.list !== id || here.has(card)) continue;
      if (laid.gone) this.#places.delete(card);
      else laid.gone = true;
    }
  }
}

function glide(element: HTMLElement, way: { x: number; y: number }): void {
  element.animate([{ transform: `translate(${way.x}px, ${way.y}px)` }, { transform: "none" }], GLIDE);
}

/** From list to list: a list hides what is outside of it, so a copy makes the journey above the board. */
function fly(element: HTMLElement, way: { x: number; y: number }): void {
  const { left, top, width } = element.getBoundingClientRect();
  const copy = element.cloneNode(true) as HTMLElement;
  for (const each of [copy, ...copy.querySelectorAll<HTMLElement>("*")]) {
    for (const name of each.getAttributeNames())
      if (name === "id" || name.startsWith("data-")) each.removeAttribute(name);
  }
  copy.inert = true;
  copy.ariaHidden = "true";
  copy.classList.add("card--flying");
  Object.assign(copy.style, { left: `${left}px`, top: `${top}px`, width: `${width}px` });
  document.body.append(copy);
  element.animate([{ opacity: 0 }, { opacity: 0 }], GLIDE);
  const flight = copy.animate(
    [{ transform: `translate(${way.x}px, ${way.y}px)` }, { transform: "none" }],
    GLIDE,
  );
  flight.onfinish = flight.oncancel = () => copy.remove();
}

/** Runs after every layout of one list. */
export function useGlide(
  places: Places,
  list: RefObject<HTMLElement | null>,
  board: RefObject<HTMLElement | null>,
): void {
  useLayoutEffect(() => {
    if (!list.current || !board.current) return;
    places.settle(list.current, board.current, matchMedia("(prefers-reduced-motion: reduce)").matches);
  });
}
