// What one visitor has in hand: the channel, the changes under way, and what the page shows because of them.

import type { Mutation, TidewireError } from "tidewire";
import { type BoardChannel, type Card, inColumn, orderBetween } from "../model.ts";
import { Marks } from "./marks.ts";
import { Notices } from "./notices.ts";
import { People } from "./people.ts";
import { Store } from "./store.ts";

/** The one open editor: of a card, or of the card to be added to a column. */
export type Editing = { card: string; draft?: string } | { column: string; draft?: string };

/** A place for a card: before the `index`-th card of a column, the carried card not counted. */
export interface Place {
  column: string;
  index: number;
}

/** A card that was picked up and not yet put down. */
export interface Carried {
  card: string;
  by: "pointer" | "keyboard";
  over: Place;
  /** Its size where it was picked up. */
  width: number;
  height: number;
}

export class Desk {
  readonly marks = new Marks();
  readonly notices = new Notices();
  readonly people = new People();
  readonly editing = new Store<Editing | null>(null);
  readonly carried = new Store<Carried | null>(null);
  /** What a screen reader is told next. */
  readonly spoken = new Store("");
  readonly name: Store<string>;

  constructor(
    readonly channel: BoardChannel,
    name: string,
  ) {
    this.name = new Store(name);
  }

  /** The cards of a column from top to bottom. */
  cards(column: string): readonly Card[] {
    return this.channel.select("cards", inColumn(column));
  }

  /** The same without one card, which is being moved. */
  others(column: string, id: string): readonly Card[] {
    return this.cards(column).filter((card) => card.id !== id);
  }

  add(column: string, title: string): void {
    const last = this.cards(column).at(-1)?.order;
    const card = { title, column, order: orderBetween(last, undefined) ?? 1, by: this.name.value };
    const id = crypto.randomUUID();
    this.#track(id, () => this.channel.put("cards", id, card), { title, retry: { column, draft: title } });
  }

  rename(id: string, title: string): void {
    const before = this.channel.get("cards", id);
    if (!before || before.title === title) return;
    this.#track(id, () => this.channel.set("cards", id, { title }), {
      title: before.title,
      retry: { card: id, draft: title },
    });
  }

  move(id: string, { column, index }: Place): void {
    const card = this.channel.get("cards", id);
    if (!card) return;
    if (this.cards(column)[index]?.id === id) return;
    const others = this.others(column, id);
    const order = orderBetween(others[index - 1]?.order, others[index]?.order);
    this.#track(
      id,
      () =>
        order === undefined
          ? this.#renumber(id, column, others, index)
          : this.channel.set("cards", id, card.column === column ? { order } : { column, order }),
      { title: card.title },
    );
  }

  remove(id: string): void {
    const card = this.channel.get("cards", id);
    if (card) this.#track(id, () => this.channel.delete("cards", id), { title: card.title });
  }

  /** Between two neighbours no number was left: the whole column gets whole numbers, in one mutation. */
  #renumber(id: string, column: string, others: readonly Card[], index: number): Mutation {
    const ids = others.map((card) => card.id);
    ids.splice(index, 0, id);
    return this.channel.batch((tx) => {
      ids.forEach((each, at) =>
        tx.set("cards", each, each === id ? { column, order: at + 1 } : { order: at + 1 }),
      );
    });
  }

  /** Marks the card while its change is under way; when it is refused, says so and offers the text again. */
  #track(card: string, change: () => Mutation, told: { title: string; retry?: Editing }): void {
    this.marks.begin(card);
    let mutation;
    try {
      mutation = change();
    } catch (error) {
      this.#refused(card, error as TidewireError, told);
      return;
    }
    mutation.committed.then(
      () => this.marks.confirm(card),
      (error: TidewireError) => this.#refused(card, error, told),
    );
  }

  #refused(card: string, error: TidewireError, told: { title: string; retry?: Editing }): void {
    const { retry } = told;
    this.marks.refuse(card, { code: error.code, reason: error.message });
    if (!this.channel.get("cards", card)) this.marks.dismiss(card);
    this.notices.show({
      tone: "bad",
      title: `“${shorten(told.title)}” was put back`,
      detail: error.message,
      ...(retry ? { action: { label: "Edit again", run: () => this.editing.set(retry) } } : {}),
    });
  }
}

function shorten(title: string): string {
  const chars = [...title];
  return chars.length > 28 ? `${chars.slice(0, 27).join("").trimEnd()}…` : title;
}
