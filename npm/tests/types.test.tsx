// What must and must not compile; `npm run types` is what judges. Nothing in here runs.

import type { Channel, Client, Mutation } from "../dist/index.js";
import { createClient, TidewireError } from "../dist/index.js";
import { TidewireProvider, useChannel, useCollection, useMutation, usePending, usePresence, useReady, useRecord } from "../dist/react.js";
import type { Mirrors } from "../dist/zustand.js";
import { tidewire } from "../dist/zustand.js";
import { expect, it } from "vitest";
import { immer } from "zustand/middleware/immer";
import { createStore } from "zustand/vanilla";

interface Card {
  title: string;
  column: "todo" | "done";
  votes?: number;
  tags: string[];
  author: { name: string };
}

interface Named {
  id: string;
  name: string;
}

interface Board {
  cards: Card;
  people: Named;
}

async function channels(client: Client): Promise<void> {
  const board = client.channel<Board, { x: number }>("board:main");
  await board.ready();

  const card = board.get("cards", "a");
  const title: string | undefined = card?.title;
  const id: string | undefined = card?.id;
  void [title, id];
  // @ts-expect-error -- no such collection
  board.get("crads", "a");
  // @ts-expect-error -- may be absent
  card.title;
  if (card) {
    // @ts-expect-error -- no such field
    card.titel;
    // @ts-expect-error -- records are frozen
    card.title = "x";
    // @ts-expect-error -- all the way down
    card.author.name = "x";
    // @ts-expect-error -- lists too
    card.tags.push("x");
  }

  const m: Mutation = board.set("cards", "a", { title: "x" });
  await m.committed;
  board.set("cards", "a", { column: "done", votes: 2 });
  // @ts-expect-error -- no such field
  board.set("cards", "a", { titel: "x" });
  // @ts-expect-error -- wrong type
  board.set("cards", "a", { title: 7 });
  // @ts-expect-error -- not one of them
  board.set("cards", "a", { column: "doing" });
  // @ts-expect-error -- undefined is not a value
  board.set("cards", "a", { title: undefined });

  board.put("cards", "a", { title: "x", column: "todo", tags: [], author: { name: "y" } });
  // @ts-expect-error -- a whole record, not a part
  board.put("cards", "a", { title: "x" });
  board.put("people", "p", { name: "Ana" });
  board.put("people", "p", { id: "p", name: "Ana" });

  board.unset("cards", "a", "votes");
  // @ts-expect-error -- no such field
  board.unset("cards", "a", "vote");
  // @ts-expect-error -- at least one
  board.unset("cards", "a");
  board.increment("cards", "a", "votes", 2);
  board.increment("cards", "a", "votes", 2n);
  // @ts-expect-error -- not a number
  board.increment("cards", "a", "title");
  board.delete("cards", "a");

  board.batch((tx) => {
    tx.set("cards", "a", { title: "x" });
    // @ts-expect-error -- no such field
    tx.set("cards", "a", { titel: "x" });
    // @ts-expect-error -- a change inside a batch is no mutation of its own
    void tx.delete("cards", "a").committed;
  });

  const done = board.select("cards", { filter: { column: "done" }, sortBy: "votes" });
  const first: string | undefined = done[0]?.title;
  board.select("cards", { filter: (c) => c.votes === 1, sortBy: (c) => c.title, descending: true });
  // @ts-expect-error -- no such field
  board.select("cards", { sortBy: "vote" });
  // @ts-expect-error -- no such value
  board.select("cards", { filter: { column: "doing" } });
  // @ts-expect-error -- not for writing
  done.push(done[0]);
  void first;

  board.on("rejected", ({ mutation, error }) => void [mutation.id, error.code, error.current]);
  board.on("history_lost", ({ from, to }) => void (from.epoch + to.seq));
  // @ts-expect-error -- no such event
  board.on("reject", () => {});
  board.presence.set({ x: 1 });
  // @ts-expect-error -- not what peers say here
  board.presence.set({ y: 1 });
  const x: number | undefined = board.presence.peers[0]?.data.x;
  void x;
  // @ts-expect-error -- told, not set
  board.status = "live";
}

function Component(): null {
  const board = useChannel<Board, { x: number }>("board:main");
  const card = useRecord(board, "cards", "a");
  // @ts-expect-error -- no such collection
  useRecord(board, "crads", "a");
  useReady(board);
  // @ts-expect-error -- no such field
  card?.titel;
  // @ts-expect-error -- records are frozen
  if (card) card.title = "x";
  const votes: number = useRecord(board, "cards", "a", (c) => c?.votes ?? 0);
  const tags: readonly string[] = useRecord(board, "cards", "a", (c) => c?.tags ?? [], (x, y) => x.length === y.length);
  // @ts-expect-error -- no such field
  useRecord(board, "cards", "a", (c) => c?.vote);
  // @ts-expect-error -- the record may be absent
  useRecord(board, "cards", "a", (c) => c.votes);
  // @ts-expect-error -- compares what was selected, a number
  useRecord(board, "cards", "a", (c) => c?.votes ?? 0, (x: string, y: string) => x === y);
  // @ts-expect-error -- no such field
  useCollection(board, "cards", { sortBy: "vote" });
  // @ts-expect-error -- no such field
  useCollection(board, "cards", { filter: (c) => c.vote === 1 });
  // @ts-expect-error -- no such value
  useCollection(board, "cards", { filter: { column: "doing" } });
  // @ts-expect-error -- no such collection
  usePending(board, "crads", "a");
  // @ts-expect-error -- not what peers say here
  usePresence(board, { y: 1 });
  void [votes, tags];
  const cards = useCollection(board, "cards", { filter: { column: "todo" } });
  const title: string | undefined = cards[0]?.title ?? card?.title;
  const rename = useMutation((next: string) => board.set("cards", "a", { title: next }));
  rename.run(title ?? "");
  // @ts-expect-error -- wrong argument
  rename.run(7);
  // @ts-expect-error -- makes no mutation
  useMutation(() => 7);
  const peers = usePresence(board, { x: 1 });
  const x: number | undefined = peers[0]?.data.x;
  void x;
  return null;
}

function provided(client: Client): void {
  <TidewireProvider client={client} initial={{ "board:main": { cards: { a: { title: "x" } } } }} />;
  // As docs/react.md has it.
  const board = client.channel<Board>("board:main");
  const cards = Object.fromEntries(board.ids("cards").map((id) => [id, board.get("cards", id)]));
  <TidewireProvider client={client} initial={{ "board:main": { cards } }} />;
  <TidewireProvider options={{ url: "https://a.test", token: "t" }} identity="ana" />;
  <TidewireProvider options={{ url: "https://a.test" }} />;
  // @ts-expect-error -- an object would be another one in each render
  <TidewireProvider options={{ url: "https://a.test" }} identity={{ id: 1 }} />;
  // @ts-expect-error -- no such option
  <TidewireProvider options={{ url: "https://a.test", tokn: "t" }} />;
  // @ts-expect-error -- one or the other
  <TidewireProvider client={client} options={{ url: "https://a.test" }} />;
  // @ts-expect-error -- whose client?
  <TidewireProvider />;
  // @ts-expect-error -- records, not their number
  <TidewireProvider client={client} initial={{ "board:main": { cards: 7 } }} />;
}

interface State extends Mirrors<Board, { cards: "cards" }> {
  rename(id: string, title: string): void;
}

// More about stores: tests/types.zustand.ts.
function stores(board: Channel<Board>): void {
  createStore<State>()(
    tidewire(board, { cards: "cards" }, immer((set) => ({
      rename: (id, title) => set((s) => {
        s.cards[id]!.title = title;
        // @ts-expect-error -- no such field
        s.cards[id]!.titel = title;
      }),
    }))),
  );
}

function clients(): void {
  createClient({ url: "https://a.test", token: async () => "t" });
  createClient({ url: new URL("https://a.test"), token: "t", retry: { attempts: 8 } });
  // @ts-expect-error -- where to?
  createClient({});
  // @ts-expect-error -- not a token
  createClient({ url: "https://a.test", token: 7 });
  const error: Error = new TidewireError("refused", "no");
  void error;
}

// An untyped channel is possible, and says so by its types.
function untyped(client: Client): void {
  const any: Channel<Record<string, Record<string, unknown>>> = client.channel("board:main");
  const value: unknown = any.get("cards", "a")?.title;
  void value;
}

it("is judged by the type checker", () => {
  expect([channels, Component, provided, stores, clients, untyped].every((f) => typeof f === "function")).toBe(true);
});
