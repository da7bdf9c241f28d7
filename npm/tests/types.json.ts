// Which schemas compile: what JSON cannot say is named by its field. `npm run types` judges.

import type { AnySchema, Channel, Client, Json } from "../dist/index.js";
import { useChannel } from "../dist/react.js";

interface Tree {
  name: string;
  parent?: Tree | undefined;
  children: readonly Tree[];
}

interface Fine {
  trees: Tree;
  cards: { title: string; due?: number | null; tags: string[]; at: [number, number]; kind: "a" | "b"; any: Json; whatever: unknown };
  counters: { n: number };
  byName: Record<string, { x: number; y?: number }>;
}

type FineAlias = { cards: { id: string; title: string; nested: { a: { b: boolean[] } } } };

export function fine(client: Client): void {
  const board = client.channel<Fine>("board:main");
  board.put("cards", "a", { title: "x", tags: [], at: [1, 2], kind: "a", any: { a: [null] }, whatever: new Map() });
  // A whole number may be written as a bigint, and is read as a number.
  board.set("counters", "a", { n: 5n });
  board.increment("counters", "a", "n", 5n);
  const n: number | undefined = board.get("counters", "a")?.n;
  // @ts-expect-error -- it is text
  board.set("cards", "a", { title: 5n });
  client.channel<FineAlias>("board:main").put("cards", "a", { title: "x", nested: { a: { b: [true] } } });
  void n;
}

export function refused(client: Client): void {
  // @ts-expect-error -- the types of 'cards.due' are incompatible: JSON has no Date
  client.channel<{ cards: { title: string; due: Date } }>("board:main");
  // @ts-expect-error -- also where it may be absent
  client.channel<{ cards: { due?: Date } }>("board:main");
  // @ts-expect-error -- or within
  client.channel<{ cards: { history: { at: Date }[] } }>("board:main");
  // @ts-expect-error -- a Map is empty as JSON
  client.channel<{ cards: { votes: Map<string, number> } }>("board:main");
  // @ts-expect-error -- so is a Set
  client.channel<{ cards: { tags: Set<string> } }>("board:main");
  // @ts-expect-error -- a function is nothing
  client.channel<{ cards: { onClick: () => void } }>("board:main");
  // @ts-expect-error -- what is written as a bigint is read as a number
  client.channel<{ cards: { n: bigint } }>("board:main");
  // @ts-expect-error -- bytes are an object of numbers
  client.channel<{ cards: { bytes: Uint8Array } }>("board:main");
  // @ts-expect-error -- becomes null
  client.channel<{ cards: { list: (string | undefined)[] } }>("board:main");
  // @ts-expect-error -- symbols are left out
  client.channel<{ cards: { s: symbol } }>("board:main");
  function Component(): void {
    // @ts-expect-error -- the hook asks the same
    useChannel<{ cards: { due: Date } }>("board:main");
  }
  void Component;
}

/** A channel without a schema takes any collection and field. */
export function untyped(client: Client): void {
  const board = client.channel("board:main");
  const same: Channel<AnySchema> = board;
  board.put("cards", "a", { title: "x", votes: 1, nested: { list: [1, null] } });
  board.set("cards", "a", { votes: 2 });
  board.unset("cards", "a", "votes");
  board.increment("cards", "a", "votes", 2);
  board.delete("cards", "a", { require: [{ exists: ["cards", "a"] }, { equal: ["cards", "a", "votes", 2] }] });
  board.batch((tx) => tx.set("cards", "a", { votes: 3 }));
  const title: Json | undefined = board.get("cards", "a")?.title;
  const id: string | undefined = board.get("cards", "a")?.id as string | undefined;
  const all = board.select("cards", { filter: { votes: 2 }, sortBy: "votes" });
  board.watch("cards", () => {});
  // @ts-expect-error -- JSON has no Date
  board.set("cards", "a", { due: new Date() });
  const hooked = (): Channel<AnySchema> => useChannel("board:main");
  void [same, title, id, all, hooked];
}
