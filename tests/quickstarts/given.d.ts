// What snippets of the READMEs take for granted: the reader's own, and what the snippet before has made.

import type { Channel, Frozen, Mutation } from "tidewire";
import type { ReactNode } from "react";

declare global {
  interface Board {
    cards: { title: string; column: string; votes?: number; position?: number };
  }

  function fetchToken(): Promise<string>;
  const board: Channel<Board>;
  const edit: Mutation;
  function Card(props: { board: Channel<Board>; card: Frozen<Board["cards"]> }): ReactNode;
}
