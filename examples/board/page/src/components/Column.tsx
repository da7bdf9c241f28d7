import { type RefObject, useMemo, useRef } from "react";
import { useCollection } from "tidewire/react";
import { type Places, useGlide } from "../drag/glide.ts";
import { type ColumnOf, inColumn } from "../model.ts";
import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";
import { Card } from "./Card.tsx";
import { Composer } from "./Composer.tsx";
import { Gap } from "./Gap.tsx";
import { LockIcon } from "./Icons.tsx";

export interface ColumnProps {
  column: ColumnOf;
  /** Which of the five colours. */
  hue: number;
  /** All columns, from left to right. */
  columns: readonly ColumnOf[];
  board: RefObject<HTMLElement | null>;
  places: Places;
}

export function Column({ column: { id, title, locked }, hue, columns, board, places }: ColumnProps) {
  const desk = useDesk();
  const list = useRef<HTMLUListElement>(null);
  const cards = useCollection(
    desk.channel,
    "cards",
    useMemo(() => inColumn(id), [id]),
  );
  const carried = useStore(desk.carried, (value) => value?.card);
  const gapAt = useStore(desk.carried, (value) => (value?.over.column === id ? value.over.index : -1));
  useGlide(places, list, board);

  const rows = cards.map((card) => <Card key={card.id} card={card} columns={columns} />);
  if (gapAt >= 0) {
    const before = cards.filter((card) => card.id !== carried)[gapAt];
    rows.splice(before ? cards.indexOf(before) : rows.length, 0, <Gap key="gap" />);
  }

  return (
    <section
      className="column"
      aria-label={title}
      data-testid="column"
      data-column={id}
      data-locked={locked || undefined}
      data-hue={hue % 5}
    >
      <h2 className="column__head">
        <span className="column__title">{title}</span>
        {locked && (
          <span className="column__lock" title="Locked: the server refuses every change in here">
            <LockIcon />
            <span className="visually-hidden">locked</span>
          </span>
        )}
        <span className="column__count" aria-label={`${cards.length} cards`}>
          {cards.length}
        </span>
      </h2>
      <ul className="column__list" ref={list} data-list={id}>
        {rows}
        {rows.length === 0 && <li className="column__empty">Nothing here. Drop a card, or add one below.</li>}
      </ul>
      <Composer column={id} title={title} />
    </section>
  );
}
