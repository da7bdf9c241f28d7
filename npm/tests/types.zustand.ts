// What must and must not compile of stores that mirror a channel. Nothing in here runs: `npm run types`
// judges it, once with Zustand 5 and once with Zustand 4 under the same name.
// (The `immer` of Zustand 4 has no type for an initializer of a part of the state: there it needs a cast.)

import { create } from "zustand";
import { devtools, persist, subscribeWithSelector } from "zustand/middleware";
import { createStore } from "zustand/vanilla";

import type { Channel } from "../dist/index.js";
import type { Mirrors } from "../dist/zustand.js";
import { localPart, tidewire } from "../dist/zustand.js";

interface Card {
  title: string;
  votes?: number;
}

interface Board {
  cards: Card;
  columns: { title: string };
}

interface State extends Mirrors<Board, { cards: "cards"; lanes: "columns" }> {
  filter: string;
  rename(id: string, title: string): void;
}

const KEYS = { cards: "cards", lanes: "columns" } as const;

export function inferred(board: Channel<Board>): void {
  const useStore = create(
    tidewire(board, { cards: "cards" }, (set) => ({
      filter: "",
      rename: (id: string, title: string) => set(({ cards }) => ({ cards: { ...cards, [id]: { ...cards[id]!, title } } })),
      wrong: (id: string) => {
        // @ts-expect-error -- no such field
        set(({ cards }) => cards[id]?.titel);
        // @ts-expect-error -- wrong type
        set(({ cards }) => ({ cards: { ...cards, [id]: { ...cards[id]!, title: 7 } } }));
      },
    })),
  );
  const title: string | undefined = useStore((s) => s.cards.a?.title);
  const filter: string = useStore((s) => s.filter);
  useStore.getState().rename("a", "x");
  void [title, filter];
  // @ts-expect-error -- no such key
  useStore((s) => s.crads);
  // @ts-expect-error -- no such field
  useStore((s) => s.cards.a?.titel);
  // @ts-expect-error -- may be absent
  useStore((s) => s.cards.a.title);
  // @ts-expect-error -- no such collection
  tidewire(board, { cards: "crads" }, () => ({}));
  // @ts-expect-error -- records are frozen
  useStore.getState().cards.a!.title = "x";
  // @ts-expect-error -- so is the mirror
  useStore.getState().cards.a = { id: "a", title: "x" };
}

export function given(board: Channel<Board>): void {
  const store = createStore<State>()(
    devtools(
      subscribeWithSelector(
        persist(
          tidewire(board, KEYS, (set, get) => ({
            filter: "",
            rename: (id, title) => {
              if (get().filter === "") set({ cards: { ...get().cards, [id]: { ...get().cards[id]!, title } } });
              // @ts-expect-error -- no such key
              set({ crads: {} });
            },
          })),
          { name: "board", partialize: localPart },
        ),
      ),
    ),
  );
  store.subscribe((s) => s.lanes.todo?.title, (title) => void title?.length);
  void store.persist.rehydrate();
  store.setState({ filter: "x" }, false, "named");
  // @ts-expect-error -- wrong type
  store.setState({ filter: 7 });
  // @ts-expect-error -- local state is missing
  createStore<State>()(tidewire(board, KEYS, () => ({ filter: "" })));
}
