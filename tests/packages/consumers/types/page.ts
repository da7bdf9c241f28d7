import { createClient, TidewireError } from "tidewire";
import { createClient as createInline } from "tidewire/inline";
import { useChannel, useCollection } from "tidewire/react";
import { tidewire, type Mirrors } from "tidewire/zustand";
import { FrameTap } from "tidewire/debug";
import { create } from "zustand";

interface Board {
  cards: { title: string; votes?: number };
}

const tap = new FrameTap(WebSocket);
const client = createClient({ url: "/", WebSocket: tap.WebSocket });
const same: typeof client = createInline({ url: "/" });
const board = same.channel<Board>("board:main");
export const useBoard = create<Mirrors<Board, { cards: "cards" }>>()(tidewire(board, { cards: "cards" }, () => ({})));

export function useTitles(): readonly string[] {
  return useCollection(useChannel<Board>("board:main"), "cards", { sortBy: "title" }).map((card) => card.title);
}

// @ts-expect-error: there is no such field.
board.set("cards", "a", { tilte: "x" });

board.set("cards", "a", { title: "x" }).committed.catch((error: unknown) => {
  if (error instanceof TidewireError && error.retryable) throw error;
});
