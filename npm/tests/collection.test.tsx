// @vitest-environment happy-dom
// What `useCollection` and `useRecord` compute, and how often.

import { act, renderHook } from "@testing-library/react";
import { describe, expect, it } from "vitest";

import { useCollection, useRecord } from "../dist/react.js";
import type { Card } from "./support/board.js";
import { BOARD, card } from "./support/board.js";
import type { Page } from "./support/page.js";
import { page, until, useBoard } from "./support/page.js";

const MANY = 10_000;

/** A board of 10,000 cards, open. */
async function large(strict = false): Promise<Page> {
  const made = page(strict);
  for (let n = 0; n < MANY - 2; n++) {
    made.server.put(BOARD, "cards", `c${n}`, { ...card({ position: n, column: n % 2 ? "todo" : "done" }) });
  }
  await act(() => made.board.ready());
  expect(made.board.ids("cards")).toHaveLength(MANY);
  return made;
}

/** A filter and a sort key that count their calls. */
function counted() {
  const calls = { filter: 0, sortBy: 0 };
  const filter = (c: Pick<Card, "column">): boolean => (calls.filter++, c.column === "todo");
  const sortBy = (c: Pick<Card, "position">): number => (calls.sortBy++, -c.position);
  const reset = (): void => void Object.assign(calls, { filter: 0, sortBy: 0 });
  return { calls, filter, sortBy, reset };
}

describe("useCollection of 10,000 records", () => {
  it("looks again at the one that changed, and sorts nothing anew", async () => {
    const { server, wrapper } = await large();
    const { calls, reset, ...options } = counted();
    const { result } = renderHook(() => useCollection(useBoard(), "cards", options), { wrapper });
    expect(calls).toEqual({ filter: MANY, sortBy: MANY / 2 + 1 });
    reset();
    server.merge(BOARD, "cards", "c1", { position: 20_000 });
    await until(() => result.current[0]?.id === "c1");
    expect(calls).toEqual({ filter: 1, sortBy: 1 });
    reset();
    server.merge(BOARD, "cards", "c0", { title: "not selected" });
    const before = result.current;
    await until(() => calls.filter === 1);
    expect(calls.sortBy).toBe(0);
    expect(result.current).toBe(before);
  });

  it("does not count on a stranger's renders: one that renders for another reason calls nothing", async () => {
    const { wrapper } = await large();
    const { calls, reset, ...options } = counted();
    const { result, rerender } = renderHook(() => useCollection(useBoard(), "cards", options), { wrapper });
    const before = result.current;
    reset();
    rerender();
    expect(calls).toEqual({ filter: 0, sortBy: 0 });
    expect(result.current).toBe(before);
  });

  it("calls functions written inside the component for every record once per render, and per change once", async () => {
    const { server, wrapper } = await large();
    const { calls, reset, filter, sortBy } = counted();
    const { result, rerender } = renderHook(
      () => useCollection(useBoard(), "cards", { filter: (c) => filter(c), sortBy: (c) => sortBy(c) }),
      { wrapper },
    );
    const before = result.current;
    reset();
    rerender();
    expect(calls.filter).toBe(MANY);
    expect(result.current).toBe(before);
    reset();
    server.merge(BOARD, "cards", "c0", { title: "not selected" });
    await until(() => calls.filter > 0);
    expect(calls).toEqual({ filter: 1, sortBy: 0 });
    expect(result.current).toBe(before);
    for (let round = 0; round < 100; round++) rerender();
    // The selections that such renders make are dropped: a change costs what it did before.
    reset();
    server.merge(BOARD, "cards", "c2", { title: "not selected either" });
    await until(() => calls.filter > 0);
    expect(calls).toEqual({ filter: 1, sortBy: 0 });
  });

  it("is kept up to date for a hundred components by a call each", async () => {
    const { server, wrapper } = await large();
    const counts = Array.from({ length: 100 }, counted);
    const { result } = renderHook(
      () => counts.map(({ filter, sortBy }) => useCollection(useBoard(), "cards", { filter, sortBy })),
      { wrapper },
    );
    for (const { reset } of counts) reset();
    server.merge(BOARD, "cards", "c1", { position: 20_000 });
    await until(() => result.current.every((cards) => cards[0]?.id === "c1"));
    expect(new Set(counts.map(({ calls }) => calls.filter))).toEqual(new Set([1]));
  });

  it("follows options that change from render to render", async () => {
    const { wrapper } = await large();
    const { result, rerender } = renderHook(
      ({ column }) => useCollection(useBoard(), "cards", { filter: { column }, sortBy: "position" }),
      { wrapper, initialProps: { column: "todo" } },
    );
    expect(result.current[0]?.id).toBe("a");
    rerender({ column: "done" });
    expect(result.current[0]?.id).toBe("c0");
    expect(result.current.every((c) => c.column === "done")).toBe(true);
    rerender({ column: "nowhere" });
    expect(result.current).toEqual([]);
  });
});

describe("useRecord with a selector", () => {
  it("renders again when what is selected is another", async () => {
    const { server, board, wrapper } = page(false);
    let renders = 0;
    const { result } = renderHook(
      () => {
        renders++;
        return useRecord(useBoard(), "cards", "a", (c) => c?.title);
      },
      { wrapper },
    );
    expect(result.current).toBeUndefined();
    await until(() => result.current === "A");
    const before = renders;
    server.merge(BOARD, "cards", "a", { position: 7 });
    await until(() => board.get("cards", "a")?.position === 7);
    expect(renders).toBe(before);
    server.merge(BOARD, "cards", "a", { title: "A2" });
    await until(() => result.current === "A2");
    expect(renders).toBe(before + 1);
  });

  it("keeps what is equal by the function that it was given", async () => {
    const { server, board, wrapper } = page();
    const sameTags = (a: readonly string[], b: readonly string[]): boolean => a.join() === b.join();
    const { result, rerender } = renderHook(
      // A new array at each call: without `sameTags` React would find no end.
      () => useRecord(useBoard(), "cards", "a", (c) => [...(c?.tags ?? [])], sameTags),
      { wrapper },
    );
    await until(() => board.status === "live");
    server.merge(BOARD, "cards", "a", { tags: ["x"] });
    await until(() => result.current.length === 1);
    const tags = result.current;
    rerender();
    expect(result.current).toBe(tags);
    server.merge(BOARD, "cards", "a", { title: "A2" });
    await until(() => board.get("cards", "a")?.title === "A2");
    expect(result.current).toBe(tags);
  });

  it("follows a selector and a record that change from render to render", async () => {
    const { wrapper } = page();
    const { result, rerender } = renderHook(
      ({ id, field }) => useRecord(useBoard(), "cards", id, (c) => c?.[field]),
      { wrapper, initialProps: { id: "a", field: "title" as "title" | "position" } },
    );
    await until(() => result.current === "A");
    rerender({ id: "b", field: "title" });
    expect(result.current).toBe("B");
    rerender({ id: "b", field: "position" });
    expect(result.current).toBe(2);
  });
});
