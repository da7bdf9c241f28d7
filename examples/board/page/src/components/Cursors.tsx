import { type CSSProperties, type RefObject, useEffect, useReducer } from "react";
import { usePresence } from "tidewire/react";
import { fromShared } from "../drag/geometry.ts";
import { useDesk } from "../state/context.ts";
import { readHere } from "../state/people.ts";

/**
 * The others' pointers, over everything, never in the way.
 *
 * The only component that renders for each of their moves; it passes on to the rest of the page what
 * changes less often: who is here, and which card they edit.
 */
export function Cursors({ board }: { board: RefObject<HTMLElement | null> }) {
  const desk = useDesk();
  const peers = usePresence(desk.channel);
  useEffect(() => desk.people.update(peers), [desk, peers]);
  useRenderOnScroll(board);
  const element = board.current;
  if (!element) return null;
  const area = element.getBoundingClientRect();
  return (
    <div className="cursors" aria-hidden="true">
      {peers.map((peer) => {
        const { name, color, cursor } = readHere(peer);
        const at = cursor && fromShared(element, cursor);
        if (!at || at.x < area.left || at.x > area.right) return null;
        return (
          <div
            key={peer.peer}
            className="cursor"
            data-testid="cursor"
            style={{ "--person": color, translate: `${at.x}px ${at.y}px` } as CSSProperties}
          >
            <svg viewBox="0 0 16 18">
              <path d="M1.5 1.5l4.300 14.200 2.700-5.700 5.900-2.100z" />
            </svg>
            <span>{name}</span>
          </div>
        );
      })}
    </div>
  );
}

/** Cursors belong to places on the board: when it scrolls or the window changes, they go along. */
function useRenderOnScroll(board: RefObject<HTMLElement | null>): void {
  const [, render] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const element = board.current;
    const listening = new AbortController();
    const options = { signal: listening.signal, passive: true };
    element?.addEventListener("scroll", render, { ...options, capture: true });
    addEventListener("resize", render, options);
    render();
    return () => listening.abort();
  }, [board]);
}
