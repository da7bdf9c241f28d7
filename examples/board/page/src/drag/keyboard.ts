// The same by keyboard: Space picks a card up, arrows carry it, Space puts it down, Escape puts it back.

import type { KeyboardEvent } from "react";
import type { ColumnOf } from "../model.ts";
import type { Desk, Place } from "../state/desk.ts";
import { focusSoon, titleOf } from "../state/focus.ts";

/** From left to right. */
export type Columns = readonly ColumnOf[];

/** Handles a key pressed on a card's title; true when it meant the card's place. */
export function handleCardKey(event: KeyboardEvent, id: string, desk: Desk, columns: Columns): boolean {
  const carried = desk.carried.value;
  const carrying = carried?.by === "keyboard" && carried.card === id;
  if (event.altKey || event.ctrlKey || event.metaKey) return false;
  if (!carrying) {
    if (event.key !== " " || carried) return false;
    pickUp(event.currentTarget as HTMLElement, id, desk, columns);
  } else if (event.key === " " || event.key === "Enter") {
    putDown(desk, columns);
  } else if (event.key === "Escape" || event.key === "Tab") {
    cancelKeyboardDrag(desk);
    if (event.key === "Tab") return false;
  } else {
    const over = step(carried.over, event.key, id, desk, columns);
    if (!over) return false;
    desk.carried.set({ ...carried, over });
    desk.spoken.set(describe(over, desk, columns, id));
  }
  event.preventDefault();
  return true;
}

/** Puts a card that the keyboard carries back where it was. */
export function cancelKeyboardDrag(desk: Desk): void {
  if (desk.carried.value?.by !== "keyboard") return;
  desk.carried.set(null);
  desk.spoken.set("Put back.");
}

function pickUp(element: HTMLElement, id: string, desk: Desk, columns: Columns): void {
  const card = desk.channel.get("cards", id);
  const box = element.closest<HTMLElement>("[data-card]")?.getBoundingClientRect();
  if (!card || !box) return;
  const over = { column: card.column, index: desk.cards(card.column).findIndex((other) => other.id === id) };
  desk.carried.set({ card: id, by: "keyboard", over, width: box.width, height: box.height });
  const help = "Arrow keys move it, Space puts it down, Escape puts it back.";
  desk.spoken.set(`Picked up “${card.title}”. ${describe(over, desk, columns, id)} ${help}`);
}

function putDown(desk: Desk, columns: Columns): void {
  const carried = desk.carried.value;
  if (!carried) return;
  desk.carried.set(null);
  desk.move(carried.card, carried.over);
  focusSoon(titleOf(carried.card));
  desk.spoken.set(`Put down. ${describe(carried.over, desk, columns, carried.card)}`);
}

function step(from: Place, key: string, id: string, desk: Desk, columns: Columns): Place | undefined {
  const room = (column: string): number => desk.others(column, id).length;
  const clamp = (value: number, max: number): number => Math.max(0, Math.min(value, max));
  const at = columns.findIndex((column) => column.id === from.column);
  switch (key) {
    case "ArrowUp":
    case "ArrowDown":
      return { ...from, index: clamp(from.index + (key === "ArrowUp" ? -1 : 1), room(from.column)) };
    case "ArrowLeft":
    case "ArrowRight": {
      const column = columns[clamp(at + (key === "ArrowLeft" ? -1 : 1), columns.length - 1)]?.id;
      return column === undefined ? undefined : { column, index: clamp(from.index, room(column)) };
    }
    default:
      return undefined;
  }
}

function describe(place: Place, desk: Desk, columns: Columns, id: string): string {
  const title = columns.find((column) => column.id === place.column)?.title ?? "";
  const count = desk.others(place.column, id).length + 1;
  return `Column ${title}, place ${place.index + 1} of ${count}.`;
}
