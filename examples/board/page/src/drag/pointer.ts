// Drag and drop with pointer events: a mouse or pen starts it by moving, a finger by resting on the card.

import type { Desk } from "../state/desk.ts";
import { autoscroll } from "./autoscroll.ts";
import { placeAt, type Point, tabAt } from "./geometry.ts";

/** How far a pressed mouse moves before the card follows. */
const MOUSE_SLACK = 5;
/** How long a finger rests before the card is lifted, and how far it may tremble meanwhile. */
const TOUCH_HOLD_MS = 260;
const TOUCH_SLACK = 9;

interface Press {
  pointer: number;
  card: HTMLElement;
  start: Point;
  touch: boolean;
  timer?: ReturnType<typeof setTimeout>;
}

export interface DragSurface {
  desk: Desk;
  /** Scrolls sideways, contains all lists. */
  board: HTMLElement;
  /** Moves the floating card; its top left corner is given. On a tab it makes itself small. */
  showAt(corner: Point, grip: Point, onTab: boolean): void;
  /** Brings a column into view. */
  reveal(column: string): void;
  /** The card is about to be put down where it floats. */
  landing(card: string, from: DOMRect): void;
}

/** Listens until the returned function is called. */
export function attachPointerDrag({ desk, board, showAt, reveal, landing }: DragSurface): () => void {
  const listening = new AbortController();
  const options = { signal: listening.signal };
  let press: Press | undefined;
  let last: Point = { x: 0, y: 0 };
  let grip: Point = { x: 0, y: 0 };
  let frame = 0;
  let swallowClick = false;

  const isCarrying = (): boolean => desk.carried.value?.by === "pointer";

  const aim = (): void => {
    const carried = desk.carried.value;
    if (!carried) return;
    const tab = tabAt(last);
    showAt({ x: last.x - grip.x, y: last.y - grip.y }, grip, tab !== undefined);
    const over = placeAt(board, last, carried.card);
    if (!over || (over.column === carried.over.column && over.index === carried.over.index)) return;
    desk.carried.set({ ...carried, over });
    if (tab !== undefined) reveal(tab);
  };

  const tick = (): void => {
    if (!isCarrying()) return;
    if (tabAt(last) === undefined && autoscroll(board, last)) aim();
    frame = requestAnimationFrame(tick);
  };

  const lift = (): void => {
    if (!press) return;
    const id = press.card.dataset["card"] ?? "";
    const { left, top, width, height } = press.card.getBoundingClientRect();
    const over = placeAt(board, press.start, id);
    if (!over) return;
    grip = { x: press.start.x - left, y: press.start.y - top };
    desk.editing.set(null);
    desk.carried.set({ card: id, by: "pointer", over, width, height });
    if (press.touch) navigator.vibrate?.(10);
    aim();
    frame = requestAnimationFrame(tick);
  };

  const release = (drop: boolean): void => {
    if (press?.timer) clearTimeout(press.timer);
    press = undefined;
    cancelAnimationFrame(frame);
    const carried = desk.carried.value;
    if (carried?.by !== "pointer") return;
    landing(carried.card, new DOMRect(last.x - grip.x, last.y - grip.y, carried.width, carried.height));
    desk.carried.set(null);
    if (drop) desk.move(carried.card, carried.over);
    swallowClick = true;
    setTimeout(() => (swallowClick = false));
  };

  board.addEventListener(
    "pointerdown",
    (event) => {
      const target = event.target as HTMLElement;
      const card = target.closest<HTMLElement>("[data-card]");
      if (!card || press || !event.isPrimary || event.button !== 0) return;
      if (target.closest("[data-no-drag]") || desk.carried.value) return;
      const touch = event.pointerType === "touch";
      last = { x: event.clientX, y: event.clientY };
      press = { pointer: event.pointerId, card, start: last, touch };
      if (touch) press.timer = setTimeout(lift, TOUCH_HOLD_MS);
    },
    options,
  );

  addEventListener(
    "pointermove",
    (event) => {
      if (!press || event.pointerId !== press.pointer) return;
      last = { x: event.clientX, y: event.clientY };
      if (isCarrying()) return aim();
      const away = Math.hypot(last.x - press.start.x, last.y - press.start.y);
      if (press.touch) {
        if (away > TOUCH_SLACK) release(false);
      } else if (away > MOUSE_SLACK) lift();
    },
    options,
  );
  addEventListener("pointerup", (event) => event.pointerId === press?.pointer && release(true), options);
  addEventListener("pointercancel", (event) => event.pointerId === press?.pointer && release(false), options);
  addEventListener("blur", () => release(false), options);
  addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Escape" && isCarrying()) release(false);
    },
    { ...options, capture: true },
  );
  // A finger that carries a card does not scroll the page; one that only rests may still do so.
  board.addEventListener("touchmove", (event) => isCarrying() && event.preventDefault(), {
    ...options,
    passive: false,
  });
  board.addEventListener(
    "contextmenu",
    (event) => (press?.touch || isCarrying()) && event.preventDefault(),
    options,
  );
  addEventListener(
    "click",
    (event) => {
      if (!swallowClick) return;
      event.stopPropagation();
      event.preventDefault();
    },
    { ...options, capture: true },
  );

  return () => {
    release(false);
    listening.abort();
  };
}
