import { type RefObject, useEffect, useState } from "react";
import type { ColumnOf } from "../model.ts";
import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";

interface TabsProps {
  board: RefObject<HTMLElement | null>;
  columns: readonly ColumnOf[];
}

/** On a narrow screen: the columns by name, to go to one, or to drop a card on it. */
export function ColumnTabs({ board, columns }: TabsProps) {
  const current = useCurrentColumn(board, columns);
  return (
    <nav className="tabs" aria-label="Columns">
      {columns.map(({ id, title }) => (
        <Tab
          key={id}
          id={id}
          title={title}
          isCurrent={id === current}
          show={() => board.current && showColumn(board.current, id)}
        />
      ))}
    </nav>
  );
}

function Tab({
  id,
  title,
  isCurrent,
  show,
}: {
  id: string;
  title: string;
  isCurrent: boolean;
  show: () => void;
}) {
  const desk = useDesk();
  const isTarget = useStore(desk.carried, (carried) => carried?.over.column === id);
  return (
    <button
      type="button"
      className="tab"
      data-tab={id}
      data-target={isTarget || undefined}
      aria-current={isCurrent || undefined}
      onClick={show}
    >
      {title}
    </button>
  );
}

const columnElement = (board: HTMLElement, id: string): HTMLElement | null =>
  board.querySelector<HTMLElement>(`[data-column="${CSS.escape(id)}"]`);

/** Scrolls a column to the middle of the board. */
export function showColumn(board: HTMLElement, id: string): void {
  columnElement(board, id)?.scrollIntoView({ inline: "center", block: "nearest", behavior: "smooth" });
}

/** The column that stands in the middle of the screen. */
function useCurrentColumn(
  board: RefObject<HTMLElement | null>,
  columns: readonly ColumnOf[],
): string | undefined {
  const [current, setCurrent] = useState(columns[0]?.id);
  useEffect(() => {
    const root = board.current;
    if (!root) return;
    const middle = { root, rootMargin: "0px -49% 0px -49%" };
    const observer = new IntersectionObserver((entries) => {
      const entry = entries.find((each) => each.isIntersecting);
      if (entry) setCurrent((entry.target as HTMLElement).dataset["column"]);
    }, middle);
    for (const { id } of columns) {
      const element = columnElement(root, id);
      if (element) observer.observe(element);
    }
    return () => observer.disconnect();
  }, [board, columns]);
  return current;
}
