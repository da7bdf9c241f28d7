import { useEffect, useMemo, useRef } from "react";
import { useCollection } from "tidewire/react";
import { listsOf } from "../drag/geometry.ts";
import { Places } from "../drag/glide.ts";
import { attachPointerDrag } from "../drag/pointer.ts";
import { useDesk } from "../state/context.ts";
import { useShareHere } from "../state/here.ts";
import { useStore } from "../state/store.ts";
import { Column } from "./Column.tsx";
import { ColumnTabs, showColumn } from "./ColumnTabs.tsx";
import { Cursors } from "./Cursors.tsx";
import { Floating } from "./Floating.tsx";

const LEFT_TO_RIGHT = { sortBy: "order" } as const;

export function Board() {
  const desk = useDesk();
  const columns = useCollection(desk.channel, "columns", LEFT_TO_RIGHT);
  const board = useRef<HTMLDivElement>(null);
  const floating = useRef<HTMLDivElement>(null);
  const places = useMemo(() => new Places(), []);
  const isCarrying = useStore(desk.carried, (carried) => carried?.by === "pointer");

  useShareHere(desk, board);

  useEffect(() => {
    const element = board.current;
    if (!element) return;
    return attachPointerDrag({
      desk,
      board: element,
      showAt: (corner, grip, onTab) => {
        const style = floating.current?.style;
        style?.setProperty("translate", `${corner.x}px ${corner.y}px`);
        style?.setProperty("transform-origin", `${grip.x}px ${grip.y}px`);
        floating.current?.toggleAttribute("data-on-tab", onTab);
      },
      reveal: (column) => showColumn(element, column),
      landing: (card, from) => {
        const list = listsOf(element).find(
          (each) => each.dataset["list"] === desk.carried.value?.over.column,
        );
        if (list) places.startFrom(card, from, list, element);
      },
    });
  }, [desk, places]);

  if (columns.length === 0) {
    return (
      <p className="board-empty">
        This board has no columns yet. Its server decides what a new board starts with.
      </p>
    );
  }
  return (
    <>
      <ColumnTabs board={board} columns={columns} />
      <div className="board" ref={board} data-testid="board" data-carrying={isCarrying || undefined}>
        {columns.map((column, at) => (
          <Column key={column.id} column={column} hue={at} columns={columns} board={board} places={places} />
        ))}
      </div>
      <Cursors board={board} />
      <Floating ref={floating} />
    </>
  );
}
