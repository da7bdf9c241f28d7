import { describe, expect, it } from "vitest";

import type { Channel } from "../dist/index.js";
import { BOARD, boardServer, card, ready, setup } from "./support/board.js";
import { arrive } from "./support/until.js";

describe("a record", () => {
  it("is the same frozen object until it looks different", async () => {
    const { server, board } = await ready();
    const a = board.get("cards", "a");
    const b = board.get("cards", "b");
    expect(board.get("cards", "a")).toBe(a);
    server.merge(BOARD, "cards", "b", { title: "B2", tags: ["x", "y"], author: { name: "bo" } });
    await arrive();
    expect(board.get("cards", "a")).toBe(a);
    const changed = board.get("cards", "b");
    expect(changed).not.toBe(b);
    expect(changed?.title).toBe("B2");
    expect(b?.title).toBe("B");
    expect(() => ((changed as { title: string }).title = "mine")).toThrow(TypeError);
    expect(() => (changed?.tags as string[]).push("z")).toThrow(TypeError);
    expect(Object.isFrozen(changed?.author)).toBe(true);
  });

  it("keeps its identity while its own edit becomes the server's state", async () => {
    const { board } = await ready();
    const mutation = board.set("cards", "a", { title: "mine" });
    const shown = board.get("cards", "a");
    await mutation.committed;
    expect(board.get("cards", "a")).toBe(shown);
  });

  it("has its id, which spreading does not copy", async () => {
    const { server, board } = await ready();
    const a = board.get("cards", "a");
    expect(a?.id).toBe("a");
    expect(Object.keys({ ...a })).not.toContain("id");
    server.put(BOARD, "cards", "n", { id: 42, title: "own", column: "todo", position: 0 });
    await arrive();
    expect(board.get("cards", "n")).toMatchObject({ id: 42 });
  });

  it("may have any name, also those that JavaScript gives a meaning", async () => {
    const { board } = await ready();
    const any = board as unknown as Channel<Record<string, Record<string, unknown>>>;
    const names = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "😀", "ä/ö", "length"];
    for (const id of names) {
      const fields = JSON.parse(`{"__proto__":{"polluted":1},"constructor":"c","title":${JSON.stringify(id)}}`);
      await any.put("cards", id, fields).committed;
      const record = any.get("cards", id) as Record<string, unknown>;
      expect(Object.keys(record).sort()).toEqual(["__proto__", "constructor", "title"]);
      expect(Object.getPrototypeOf(record)).toBe(Object.prototype);
      expect(record.title).toBe(id);
      expect(record.id).toBe(id);
    }
    for (const collection of ["__proto__", "constructor"]) {
      await any.put(collection, "x", { n: 1 }).committed;
      expect(any.get(collection, "x")).toEqual({ n: 1 });
      expect(any.ids(collection)).toEqual(["x"]);
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(any.get("cards", "isPrototypeOf")).toBeUndefined();
  });

  it("keeps numbers, nesting and unicode as they were written", async () => {
    const { server, board } = await ready();
    const any = board as unknown as Channel<Record<string, Record<string, unknown>>>;
    const fields = { big: 9007199254740993, small: 1e-7, text: 'ü"\\\n\u2028😀', lone: "\ud800", deep: [{ a: [null, true] }] };
    await any.put("cards", "c", fields).committed;
    expect(any.get("cards", "c")).toEqual(fields);
    expect(server.record(BOARD, "cards", "c")).toEqual(fields);
  });
});

describe("ids", () => {
  it("are the same array until a record comes or goes, in the order of code points", async () => {
    const { server, board } = await ready();
    const before = board.ids("cards");
    expect(before).toEqual(["a", "b"]);
    server.merge(BOARD, "cards", "a", { title: "x" });
    await arrive();
    expect(board.ids("cards")).toBe(before);
    // U+FFEE sorts below U+1F600, although its UTF-16 unit is larger.
    for (const id of ["😀", "\uffee", "aa"]) server.put(BOARD, "cards", id, card() as object);
    server.remove(BOARD, "cards", "b");
    await arrive();
    expect(board.ids("cards")).toEqual(["a", "aa", "\uffee", "😀"]);
    expect(board.ids("columns")).toEqual([]);
    const fresh = setup({}, server);
    await fresh.board.ready();
    expect(fresh.board.ids("cards")).toEqual(board.ids("cards"));
  });
});

describe("a selection", () => {
  const todo = { filter: { column: "todo" }, sortBy: "position" } as const;

  it("is the same array while nothing in it looks different", async () => {
    const { server, board } = await ready();
    const before = board.select("cards", todo);
    expect(before.map((c) => c.id)).toEqual(["a", "b"]);
    server.put(BOARD, "cards", "d", { ...card({ column: "done" }) });
    server.put(BOARD, "columns", "todo", { title: "To do" });
    await arrive();
    expect(board.select("cards", todo)).toBe(before);
    expect(board.select("cards", { filter: { column: "todo" }, sortBy: "position" })).toBe(before);
    server.merge(BOARD, "cards", "a", { position: 3 });
    await arrive();
    const after = board.select("cards", todo);
    expect(after.map((c) => c.id)).toEqual(["b", "a"]);
    expect(after[0]).toBe(before[1]);
  });

  it("follows records that come, leave, move and go, like a selection made anew", async () => {
    const { server, board } = await ready();
    const column = (c: { column: string }): boolean => c.column === "todo";
    const options = { filter: column, sortBy: (c: { position: number }) => c.position, descending: true };
    board.select("cards", options);
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
    for (let round = 0; round < 200; round++) {
      const id = `r${random(20)}`;
      if (random(4) === 0) server.remove(BOARD, "cards", id);
      else server.put(BOARD, "cards", id, { ...card({ column: random(2) ? "todo" : "done", position: random(5) }) });
      if (round % 7 !== 0) continue;
      await arrive();
      const kept = board.select("cards", options);
      const anew = board.select("cards", { ...options, filter: (c) => column(c) });
      expect(kept).toEqual(anew);
      expect(kept.map((c) => c.position)).toEqual(kept.map((c) => c.position).sort((x, y) => y - x));
    }
  });

  it("sorts absent keys last, whichever way", async () => {
    const { server, board } = await ready();
    server.merge(BOARD, "cards", "a", { votes: 1 });
    server.put(BOARD, "cards", "c", { ...card({ votes: 2 }) });
    await arrive();
    expect(board.select("cards", { sortBy: "votes" }).map((c) => c.id)).toEqual(["a", "c", "b"]);
    expect(board.select("cards", { sortBy: "votes", descending: true }).map((c) => c.id)).toEqual(["c", "a", "b"]);
  });

  it("catches up also when more changed than is remembered", async () => {
    const { server, board } = await ready();
    const ids = board.ids("cards");
    board.select("cards", todo);
    for (let n = 0; n < 5000; n++) server.merge(BOARD, "cards", "a", { position: n });
    server.put(BOARD, "cards", "z", { ...card({ position: -1 }) });
    await arrive();
    expect(board.select("cards", todo).map((c) => c.id)).toEqual(["z", "b", "a"]);
    expect(board.ids("cards")).toEqual([...ids, "z"]);
  });

  it("is made of what was there before the first read too", async () => {
    const server = boardServer();
    for (let n = 0; n < 500; n++) server.put(BOARD, "cards", `c${n}`, { ...card({ position: 500 - n }) });
    const { board } = setup({}, server);
    expect(board.select("cards", todo)).toEqual([]);
    await board.ready();
    expect(board.select("cards", todo)).toHaveLength(502);
    expect(board.select("cards", todo)[2]?.position).toBe(2);
  });
});

it("a value that cannot be ordered counts as absent, whatever its fields are called", async () => {
  const { server, board } = await ready();
  const hostile = { toString: 1, valueOf: 1, __proto__: null };
  server.put(BOARD, "cards", "h1", { title: hostile, column: "todo", position: 3 });
  server.put(BOARD, "cards", "h2", { title: [], column: "todo", position: 3 });
  await arrive();
  const ids = (descending: boolean) => board.select("cards", { sortBy: "title", descending }).map((c) => c.id);
  expect(ids(false)).toEqual(["a", "b", "h1", "h2"]);
  expect(ids(true)).toEqual(["b", "a", "h1", "h2"]);
});
