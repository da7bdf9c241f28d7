import { type CSSProperties, memo } from "react";
import { cancelKeyboardDrag, handleCardKey } from "../drag/keyboard.ts";
import { colorOf } from "../identity.ts";
import type { Card as CardOf, ColumnOf } from "../model.ts";
import { useDesk } from "../state/context.ts";
import { focusSoon, titleOf } from "../state/focus.ts";
import { markOf } from "../state/marks.ts";
import { useStore, useStoreList } from "../state/store.ts";
import { Avatar } from "./Avatar.tsx";
import { CardMenu } from "./CardMenu.tsx";
import { AlertIcon, CloseIcon } from "./Icons.tsx";
import { TitleEditor } from "./TitleEditor.tsx";

export const Card = memo(function Card({ card, columns }: { card: CardOf; columns: readonly ColumnOf[] }) {
  const { id } = card;
  const desk = useDesk();
  const mark = useStore(desk.marks.store, markOf(id));
  const carriedBy = useStore(desk.carried, (carried) => (carried?.card === id ? carried.by : undefined));
  const editing = useStore(desk.editing, (value) =>
    value && "card" in value && value.card === id ? value : undefined,
  );
  const editors = useStoreList(desk.people.store, (people) => people.filter((person) => person.card === id));

  const state = mark.refusal ? "refused" : mark.pending > 0 ? "pending" : undefined;
  return (
    <li
      className="card"
      data-testid="card"
      data-card={id}
      data-state={state}
      data-carried={carriedBy}
      data-edited={editors.length > 0 || undefined}
      style={editors[0] && ({ "--person": editors[0].color } as CSSProperties)}
    >
      <div className="card__body">
        {editing ? (
          <TitleEditor
            label="Title of the card"
            initial={editing.draft ?? card.title}
            current={card.title}
            onSave={(text) => desk.rename(id, text)}
            onClose={(byKey) => {
              desk.editing.set(null);
              if (byKey) focusSoon(titleOf(id));
            }}
          />
        ) : (
          <button
            type="button"
            className="card__title"
            data-testid="card-title"
            aria-describedby="card-help"
            onClick={() => desk.editing.set({ card: id })}
            onKeyDown={(event) => handleCardKey(event, id, desk, columns)}
            onKeyUp={(event) => event.key === " " && event.preventDefault()}
            onBlur={() => carriedBy === "keyboard" && cancelKeyboardDrag(desk)}
          >
            {card.title}
          </button>
        )}
        <CardMenu id={id} title={card.title} column={card.column} columns={columns} />
      </div>
      <div className="card__foot">
        <Avatar name={card.by} color={colorOf(card.by)} small />
        <span className="card__by">{card.by}</span>
        {editors.length > 0 && (
          <span className="card__editors" data-testid="card-editors">
            {editors.map((person) => person.name).join(", ")} {editors.length === 1 ? "is" : "are"} editing
          </span>
        )}
        {mark.pending > 0 && (
          <span className="card__pending" data-testid="card-pending">
            <span className="visually-hidden">not confirmed yet</span>
          </span>
        )}
      </div>
      {mark.refusal && (
        <p className="card__refusal" data-testid="card-refusal">
          <AlertIcon />
          <span>Put back: {mark.refusal.reason}</span>
          <button
            type="button"
            className="icon-button"
            data-no-drag
            aria-label="Dismiss"
            onClick={() => desk.marks.dismiss(id)}
          >
            <CloseIcon />
          </button>
        </p>
      )}
    </li>
  );
});
