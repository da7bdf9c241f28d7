// What fields may hold: what comes back as it was given, and nothing else.

import { describe, expect, it } from "vitest";

import type { Channel } from "../dist/index.js";
import { TidewireError } from "../dist/index.js";
import { BOARD, ready } from "./support/board.js";
import { until } from "./support/until.js";

type Any = Channel<Record<string, Record<string, unknown>>>;

async function anything() {
  const { server, board } = await ready();
  return { server, board: board as unknown as Any };
}

class Point {
  x = 1;
}

describe("a value that would come back as something else is refused with the name of its field", () => {
  const values: [string, unknown, RegExp][] = [
    ["a Date", new Date(0), /field "due" is a Date/],
    ["a Map", new Map([["a", 1]]), /a Map/],
    ["a Set", new Set([1]), /a Set/],
    ["a function", () => 1, /a function/],
    ["a symbol", Symbol("s"), /a symbol/],
    ["an instance", new Point(), /a Point/],
    ["a typed array", new Uint8Array(2), /a Uint8Array/],
    ["a promise", Promise.resolve(1), /a Promise/],
    ["a RegExp", /x/, /a RegExp/],
    ["a boxed number", Object(1), /a Number/],
    ["NaN", Number.NaN, /NaN/],
    ["Infinity inside", { deep: [1, { at: Number.POSITIVE_INFINITY }] }, /field "due" at \["deep"\]\[1\]\["at"\] is Infinity/],
    ["a Date inside", { at: new Date(0) }, /field "due" at \["at"\] is a Date/],
    ["undefined in a list", [1, undefined], /field "due" at \[1\] is undefined.*null/],
    ["a hole in a list", Array(2), /at \[0\] is undefined/],
    ["too large a bigint", 2n ** 63n, /64 bits/],
  ];
  for (const [what, value, message] of values) {
    it(what, async () => {
      const { server, board } = await anything();
      for (const call of [
        () => board.put("cards", "n", { due: value }),
        () => board.set("cards", "a", { due: value }),
        () => board.batch((tx) => tx.set("cards", "a", { due: value })),
        () => board.set("cards", "a", { title: "x" }, { require: [{ equal: ["cards", "a", "due", value] }] }),
      ]) {
        expect(call).toThrow(TidewireError);
        expect(call).toThrow(expect.objectContaining({ code: "invalid", message: expect.stringMatching(message) }));
      }
      expect(() => board.presence.set(value)).toThrow(expect.objectContaining({ code: "invalid" }));
      expect(server.frames("push")).toEqual([]);
    });
  }
});

it("what JSON says comes back as it was", async () => {
  const { server, board } = await anything();
  const value = {
    text: "ü\ud83d\ude00\u2028\"\\",
    list: [1, -0.5, 1e300, true, null, [], {}],
    nested: { a: { b: [{ c: "d" }] } },
    ...JSON.parse('{"__proto__": {"x": 1}, "constructor": 1, "toJSON": 2, "": 3}'),
  };
  const foreign = Object.assign(Object.create(null), { a: 1 }) as object;
  await board.put("cards", "n", { value, foreign, frozen: board.get("cards", "a") }).committed;
  const back = server.record(BOARD, "cards", "n");
  expect(JSON.stringify(back?.value)).toBe(JSON.stringify(value));
  expect(back?.foreign).toEqual({ a: 1 });
  expect(back?.frozen).toEqual({ title: "A", column: "todo", position: 1 });
});

describe("undefined", () => {
  it("is left out by put and removed by set, in one mutation", async () => {
    const { server, board } = await anything();
    await board.put("cards", "n", { title: "N", votes: undefined, tags: ["x"], author: { name: "Ana", born: undefined } }).committed;
    expect(server.record(BOARD, "cards", "n")).toEqual({ title: "N", tags: ["x"], author: { name: "Ana" } });
    await board.set("cards", "n", { title: "M", tags: undefined }).committed;
    expect(server.record(BOARD, "cards", "n")).toEqual({ title: "M", author: { name: "Ana" } });
    await board.set("cards", "n", { author: undefined }).committed;
    expect(server.record(BOARD, "cards", "n")).toEqual({ title: "M" });
    expect(server.frames("push").flatMap((push) => push.items)).toHaveLength(3);
    server.judge = () => ({ code: 3007, detail: "no" });
    const refused = board.set("cards", "n", { title: "X", votes: undefined });
    // Of a single record, however it was written down.
    await expect(refused.committed).rejects.toMatchObject({ current: { title: "M" } });
  });
});

describe("a bigint", () => {
  it("is the whole number that it is, in fields, inside them, in preconditions and in increment alike", async () => {
    const { server, board } = await anything();
    await board.put("cards", "n", { n: 5n, deep: [1n] }).committed;
    expect(server.record(BOARD, "cards", "n")).toEqual({ n: 5, deep: [1] });
    await (board as unknown as { increment(...args: unknown[]): { committed: Promise<void> } }).increment("cards", "n", "n", 2n).committed;
    expect(board.get("cards", "n")).toEqual({ n: 7, deep: [1] });
    board.set("cards", "n", { n: -(2n ** 63n) }, { require: [{ equal: ["cards", "n", "n", 7n] }] });
    await until(() => server.frames("push").length === 3);
    const [item] = server.frames("push")[2]?.items as [{ changes: [{ set: { fields: [{ value: Uint8Array }] } }] }];
    expect(Buffer.from(item.changes[0].set.fields[0].value).toString()).toBe("-9223372036854775808");
  });
});

describe("a filter by fields", () => {
  it("compares values as JSON, nested ones too", async () => {
    const { server, board } = await anything();
    server.merge(BOARD, "cards", "a", { author: { name: "Ana", age: 3 }, tags: ["x", { y: 1 }] });
    await until(() => board.get("cards", "a")?.tags !== undefined);
    const ids = (filter: Record<string, unknown>): unknown[] => board.select("cards", { filter }).map((card) => card.id);
    expect(ids({ author: { age: 3, name: "Ana" } })).toEqual(["a"]);
    expect(ids({ tags: ["x", { y: 1, z: undefined }] })).toEqual(["a"]);
    expect(ids({ author: { name: "Ana" } })).toEqual([]);
    expect(ids({ author: undefined })).toEqual(["b"]);
    expect(ids({ tags: [{ y: 1 }, "x"] })).toEqual([]);
  });

  it("is the same selection while it says the same", async () => {
    const { server, board } = await anything();
    server.merge(BOARD, "cards", "a", { author: { name: "Ana" } });
    await until(() => board.get("cards", "a")?.author !== undefined);
    const once = board.select("cards", { filter: { author: { name: "Ana" } } });
    expect(once).toHaveLength(1);
    expect(board.select("cards", { filter: { author: { name: "Ana" } } })).toBe(once);
  });
});
