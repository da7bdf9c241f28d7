// Tells the others where this visitor is: name, pointer, and the card being edited.

import { type RefObject, useEffect } from "react";
import { toShared } from "../drag/geometry.ts";
import { colorOf } from "../identity.ts";
import type { Here } from "../model.ts";
import type { Desk } from "./desk.ts";

export function useShareHere(desk: Desk, board: RefObject<HTMLElement | null>): void {
  useEffect(() => {
    const element = board.current;
    if (!element) return;
    const listening = new AbortController();
    const options = { signal: listening.signal, passive: true };
    let cursor: Here["cursor"];

    // Every change is handed on at once; the client thins them out to what the protocol allows.
    const share = (): void => {
      const name = desk.name.value;
      const editing = desk.editing.value;
      desk.channel.presence.set({
        name,
        color: colorOf(name),
        // While editing, the mark on the card says where; a pointer would only cover it.
        ...(editing && "card" in editing ? { card: editing.card } : cursor ? { cursor } : {}),
      } satisfies Here);
    };
    const point = (event: PointerEvent): void => {
      cursor = toShared(element, { x: event.clientX, y: event.clientY });
      share();
    };
    const leave = (): void => {
      if (!cursor) return;
      cursor = undefined;
      share();
    };

    addEventListener("pointermove", point, options);
    addEventListener("pointerup", (event) => event.pointerType === "touch" && leave(), options);
    document.documentElement.addEventListener("pointerleave", leave, options);
    document.addEventListener("visibilitychange", () => document.hidden && leave(), options);
    const stops = [desk.name.subscribe(share), desk.editing.subscribe(share)];
    share();
    return () => {
      listening.abort();
      for (const stop of stops) stop();
    };
  }, [desk, board]);
}
