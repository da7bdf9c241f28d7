import { type RefObject, useId, useRef } from "react";
import type { Columns } from "../drag/keyboard.ts";
import { useDesk } from "../state/context.ts";
import { ArrowIcon, EditIcon, MoreIcon, TrashIcon } from "./Icons.tsx";

export interface CardMenuProps {
  id: string;
  title: string;
  column: string;
  columns: Columns;
}

/** Everything that can be done with a card, for whoever does not drag. */
export function CardMenu({ id, title, column, columns }: CardMenuProps) {
  const desk = useDesk();
  const menu = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const menuId = useId();

  const choose = (action: () => void) => (): void => {
    menu.current?.hidePopover();
    action();
  };

  return (
    <>
      <button
        ref={button}
        type="button"
        className="icon-button card__more"
        data-no-drag
        data-testid="card-menu"
        aria-label={`More for “${title}”`}
        popoverTarget={menuId}
      >
        <MoreIcon />
      </button>
      <div
        ref={menu}
        id={menuId}
        className="menu"
        popover="auto"
        data-no-drag
        onBeforeToggle={(event) => event.newState === "open" && placeBeside(menu, button)}
      >
        <button type="button" className="menu__item" onClick={choose(() => desk.editing.set({ card: id }))}>
          <EditIcon /> Edit
        </button>
        {columns
          .filter((other) => other.id !== column)
          .map((other) => (
            <button
              key={other.id}
              type="button"
              className="menu__item"
              onClick={choose(() => desk.move(id, { column: other.id, index: desk.cards(other.id).length }))}
            >
              <ArrowIcon /> Move to {other.title}
            </button>
          ))}
        <button
          type="button"
          className="menu__item menu__item--bad"
          data-testid="card-delete"
          onClick={choose(() => desk.remove(id))}
        >
          <TrashIcon /> Delete
        </button>
      </div>
    </>
  );
}

/** A popover stands in the top layer, outside every scrolling list: it is placed by hand, inside the screen. */
function placeBeside(menu: RefObject<HTMLElement | null>, button: RefObject<HTMLElement | null>): void {
  const box = button.current?.getBoundingClientRect();
  const style = menu.current?.style;
  if (!box || !style) return;
  const below = box.bottom < innerHeight * 0.6;
  style.inset = "auto";
  style.right = `${Math.max(8, innerWidth - box.right)}px`;
  if (below) style.top = `${box.bottom + 4}px`;
  else style.bottom = `${innerHeight - box.top + 4}px`;
}
