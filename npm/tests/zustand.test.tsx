// @vitest-environment happy-dom
import { readFile } from "node:fs/promises";

import { act, render } from "@testing-library/react";
import { StrictMode } from "react";
import type { ReactNode } from "react";
import { describe, expect, it, vi } from "vitest";
import { create } from "zustand";
import { createJSONStorage, devtools, persist, subscribeWithSelector } from "zustand/middleware";
import { immer } from "zustand/middleware/immer";
import { createStore } from "zustand/vanilla";
import { devtools as devtools4, persist as persist4 } from "zustand4/middleware";
import { createStore as createStore4 } from "zustand4/vanilla";

import type { Mirrors } from "../dist/zustand.js";
import { localPart, tidewire } from "../dist/zustand.js";
import type { Board } from "./support/board.js";
import { BOARD, ready as open, setup } from "./support/board.js";
import { until } from "./support/until.js";

// A page would fetch it; this one has no server.
const wasm = await WebAssembly.compile(await readFile(`${import.meta.dirname}/../dist/wasm/tidewire_bg.wasm`));
const ready = () => open({ wasm });

interface State extends Mirrors<Board, { cards: "cards" }> {
  column: string;
  choose(column: string): void;
}

async function mirrored() {
  const made = await ready();
  const store = createStore<State>()(
    tidewire(made.board, { cards: "cards" }, (set) => ({ column: "todo", choose: (column) => set({ column }) })),
  );
  return { ...made, store };
}

describe("a mirrored key", () => {
  it("shows records by id, keeps the identity of those that did not change, and needs no subscriber", async () => {
    const { server, store } = await mirrored();
    const { cards } = store.getState();
    expect(Object.keys(cards)).toEqual(["a", "b"]);
    expect(store.getState().cards).toBe(cards);
    server.merge(BOARD, "cards", "a", { title: "theirs" });
    await until(() => store.getState().cards.a?.title === "theirs");
    expect(store.getState().cards).not.toBe(cards);
    expect(store.getState().cards.b).toBe(cards.b);
  });

  it("that is set becomes one mutation of what differs, and shows at once with the rest", async () => {
    const { server, store } = await mirrored();
    const seen: [string | undefined, string][] = [];
    store.subscribe((s) => seen.push([s.cards.a?.title, s.column]));
    store.setState(({ cards }) => {
      const { b: _, ...others } = cards;
      const c = { id: "c", title: "C", column: "todo", position: 3 };
      return { cards: { ...others, a: { ...cards.a!, title: "mine" }, c }, column: "done" };
    });
    expect(seen).toEqual([["mine", "done"]]);
    expect(Object.keys(store.getState().cards)).toEqual(["a", "c"]);
    await until(() => server.frames("push").length > 0);
    const [push] = server.frames("push");
    expect(push!.items).toHaveLength(1);
    expect(push!.items[0].changes.map((c: object) => Object.keys(c)[0])).toEqual(["set", "put", "del"]);
    expect(push!.items[0].changes[0].set.fields.map((f: { name: string }) => f.name)).toEqual(["title"]);
    await until(() => server.record(BOARD, "cards", "c") !== undefined);
    expect(server.record(BOARD, "cards", "c")).toEqual({ title: "C", column: "todo", position: 3 });
    expect(server.record(BOARD, "cards", "b")).toBeUndefined();
  });

  it("goes back when the server rejects", async () => {
    const { server, board, store } = await mirrored();
    server.judge = () => ({ code: 3007, detail: "locked" });
    const rejected = vi.fn();
    board.on("rejected", rejected);
    store.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: "mine" } } }));
    expect(store.getState().cards.a?.title).toBe("mine");
    await until(() => rejected.mock.calls.length === 1);
    expect(store.getState().cards.a?.title).toBe("A");
  });

  it("that cannot be sent throws, and nothing was set", async () => {
    const { store } = await mirrored();
    const before = store.getState();
    expect(() =>
      store.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: "x".repeat(70_000) } }, column: "done" })),
    ).toThrow(expect.objectContaining({ code: "too_large" }));
    expect(store.getState()).toBe(before);
  });

  it("loses fields that are left out or undefined, and an equal copy changes nothing", async () => {
    const { server, store } = await mirrored();
    server.merge(BOARD, "cards", "a", { tags: ["x"], author: { name: "Ana" }, votes: 1 });
    await until(() => store.getState().cards.a?.votes === 1);
    store.setState(({ cards }) => ({ cards: { ...cards, a: structuredClone(cards.a!) } }));
    await Promise.resolve();
    expect(server.frames("push")).toEqual([]);
    store.setState(({ cards }) => {
      const { votes: _, ...rest } = cards.a!;
      return { cards: { ...cards, a: rest as typeof cards.a & {} } };
    });
    await until(() => server.record(BOARD, "cards", "a")?.votes === undefined || server.frames("push").length > 0);
    const [change] = server.frames("push")[0]!.items[0].changes;
    expect(change.unset.fields).toEqual(["votes"]);
  });

  it("is replaced as a whole by what replaces the state, but not by what the store began with", async () => {
    const { server, store } = await mirrored();
    store.getState().choose("done");
    store.setState(store.getInitialState(), true);
    expect(store.getState().column).toBe("todo");
    expect(Object.keys(store.getState().cards)).toEqual(["a", "b"]);
    store.setState({ column: "x" } as State, true);
    expect(Object.keys(store.getState().cards)).toEqual(["a", "b"]);
    await Promise.resolve();
    expect(server.frames("push")).toEqual([]);
    const { a } = store.getState().cards;
    store.setState({ column: "y", cards: { a: a! } } as unknown as State, true);
    expect(Object.keys(store.getState().cards)).toEqual(["a"]);
    expect(store.getState()).toEqual({ column: "y", cards: { a } });
    await until(() => server.record(BOARD, "cards", "b") === undefined);
    store.setState({ cards: {} });
    await until(() => server.record(BOARD, "cards", "a") === undefined);
  });

  it("with a record that somebody removed meanwhile creates it anew only if it is given as a whole", async () => {
    const { server, store, board } = await mirrored();
    const before = store.getState().cards;
    server.remove(BOARD, "cards", "a");
    await until(() => store.getState().cards.a === undefined);
    // A function sees the present: there is nothing to spread.
    store.setState(({ cards }) => ({ cards: cards.a ? { ...cards, a: { ...cards.a, title: "mine" } } : cards }));
    await Promise.resolve();
    expect(server.frames("push")).toEqual([]);
    // Whoever sets an older state back, as undo does, wants the record that was in it.
    store.setState({ cards: before });
    await until(() => server.record(BOARD, "cards", "a") !== undefined);
    expect(server.record(BOARD, "cards", "a")).toEqual({ title: "A", column: "todo", position: 1 });
    // Removed on the server while our edit is under way: the edit is refused, and nothing is left of it.
    server.holding = true;
    const rejected = vi.fn();
    board.on("rejected", rejected);
    store.setState(({ cards }) => ({ cards: { ...cards, b: { ...cards.b!, title: "too late" } } }));
    await until(() => server.frames("push").length === 2);
    server.remove(BOARD, "cards", "b");
    await until(() => store.getState().cards.b === undefined);
    server.release();
    await until(() => rejected.mock.calls.length === 1);
    expect(rejected.mock.calls[0]![0].error.code).toBe("not_found");
    expect(Object.keys(store.getState().cards)).toEqual(["a"]);
  });

  it("is set once for all that arrives together, and only for subscribers", async () => {
    const { server, store, board } = await mirrored();
    const seen = vi.fn();
    const stop = store.subscribe(seen);
    board.batch((tx) => {
      for (let n = 0; n < 100; n++) tx.put("cards", `c${n}`, { title: "x", column: "todo", position: n });
    });
    expect(seen).toHaveBeenCalledTimes(1);
    await until(() => server.record(BOARD, "cards", "c99") !== undefined);
    stop();
    seen.mockClear();
    board.delete("cards", "c0");
    expect(seen).not.toHaveBeenCalled();
    expect(store.getState().cards.c0).toBeUndefined();
  });

  it("is not changed by what sets local state only", async () => {
    const { server, store } = await mirrored();
    store.getState().choose("done");
    store.setState({ ...store.getState(), column: "x" }, true);
    expect(store.getState().column).toBe("x");
    expect(server.frames("push")).toEqual([]);
  });
});

describe("a set that was made from an older state", () => {
  // Each way to write down the same intent: edit `a`'s title, remove `b`, add `c`.
  const edit = (cards: Mirrors<Board, { cards: "cards" }>["cards"]) => {
    const { b: _, ...others } = cards;
    return { ...others, a: { ...cards.a!, title: "mine" }, c: { id: "c", title: "C", column: "todo", position: 3 } };
  };

  async function meanwhile(stop = false) {
    const made = await mirrored();
    const unsubscribe = made.store.subscribe(() => {});
    const { cards } = made.store.getState();
    if (stop) unsubscribe();
    made.server.put(BOARD, "cards", "theirs", { title: "made meanwhile", column: "todo", position: 9 });
    made.server.merge(BOARD, "cards", "a", { column: "done", votes: 1 });
    await until(() => made.board.get("cards", "a")?.column === "done");
    return { ...made, cards };
  }

  async function expectMerged(server: Awaited<ReturnType<typeof meanwhile>>["server"]) {
    await until(() => server.record(BOARD, "cards", "c") !== undefined);
    expect(server.record(BOARD, "cards", "theirs")).toEqual({ title: "made meanwhile", column: "todo", position: 9 });
    expect(server.record(BOARD, "cards", "a")).toEqual({ title: "mine", column: "done", position: 1, votes: 1 });
    expect(server.record(BOARD, "cards", "b")).toBeUndefined();
  }

  it("changes what was edited and deletes what was left out, however late it is spread", async () => {
    for (const stop of [false, true]) {
      const { server, store, cards } = await meanwhile(stop);
      store.setState({ cards: edit(cards) });
      await expectMerged(server);
    }
  });

  it("also when it was spread before the await, and others looked at newer states since", async () => {
    const { server, store } = await mirrored();
    store.subscribe(({ cards }) => void Object.values(cards));
    const next = edit(store.getState().cards);
    server.put(BOARD, "cards", "theirs", { title: "made meanwhile", column: "todo", position: 9 });
    server.merge(BOARD, "cards", "a", { column: "done", votes: 1 });
    await until(() => store.getState().cards.a?.column === "done");
    store.setState({ cards: next });
    await expectMerged(server);
  });

  it("also when a function spreads what it closed over", async () => {
    const { server, store, cards } = await meanwhile();
    store.setState(() => ({ cards: edit(cards) }));
    await expectMerged(server);
  });

  it("also when it is made without spreading", async () => {
    const { server, store, cards } = await meanwhile();
    store.setState({ cards: Object.fromEntries(Object.entries(edit(cards))) as typeof cards });
    await expectMerged(server);
  });

  it("leaves alone what was spread with the whole state only for a local key", async () => {
    const { server, store } = await mirrored();
    const before = store.getState();
    server.merge(BOARD, "cards", "a", { column: "done" });
    server.remove(BOARD, "cards", "b");
    await until(() => store.getState().cards.b === undefined);
    store.setState({ ...before, column: "x" });
    await Promise.resolve();
    expect(store.getState().column).toBe("x");
    expect(server.frames("push")).toEqual([]);
    expect(Object.keys(store.getState().cards)).toEqual(["a"]);
  });

  it("may remove what came last, at once and from what a component rendered", async () => {
    const { server, store } = await mirrored();
    let rendered = store.getState().cards;
    store.subscribe(({ cards }) => void (rendered = cards));
    for (const id of ["x", "y"]) {
      server.put(BOARD, "cards", id, { title: id, column: "todo", position: 5 });
      await until(() => id in rendered);
      const { [id]: _, ...others } = rendered;
      store.setState({ cards: others });
      await until(() => server.record(BOARD, "cards", id) === undefined);
    }
    expect(Object.keys(store.getState().cards)).toEqual(["a", "b"]);
  });

  it("replaces the whole collection when it says so", async () => {
    const { server, store, cards } = await meanwhile();
    store.setState({ column: "x", choose: () => {}, cards: { a: cards.a! } }, true);
    await until(() => server.record(BOARD, "cards", "theirs") === undefined);
    expect(server.record(BOARD, "cards", "b")).toBeUndefined();
    expect(server.record(BOARD, "cards", "a")).toEqual({ title: "A", column: "todo", position: 1 });
  });

  it("mirrors read like plain objects", async () => {
    const { store } = await mirrored();
    const { cards } = store.getState();
    const plain = { a: { title: "A", column: "todo", position: 1 }, b: { title: "B", column: "todo", position: 2 } };
    expect(cards).toEqual(plain);
    expect(JSON.parse(JSON.stringify(cards))).toEqual(plain);
    expect(structuredClone(cards)).toEqual(plain);
    expect(Object.entries(cards).map(([id]) => id)).toEqual(["a", "b"]);
  });
});

describe("an edit that does not end as committed", () => {
  it("is told by the channel's event, or else as an uncaught error", async () => {
    for (const listens of [true, false]) {
      const { client, board, store, server } = await mirrored();
      const reported: unknown[] = [];
      vi.stubGlobal("reportError", (error: unknown) => reported.push(error));
      const heard = vi.fn();
      if (listens) {
        board.on("rejected", heard);
        board.on("indeterminate", heard);
      }
      server.judge = () => ({ code: 3007, detail: "locked" });
      store.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: "mine" } } }));
      await until(() => heard.mock.calls.length + reported.length === 1);
      server.holding = true;
      store.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: "mine" } } }));
      client.close();
      await until(() => heard.mock.calls.length + reported.length === 2);
      expect(reported).toMatchObject(listens ? [] : [{ code: "refused" }, { code: "indeterminate" }]);
      expect(() => store.setState({ cards: {} })).not.toThrow();
      expect(() => store.setState({ cards: { z: { id: "z", title: "z", column: "", position: 0 } } })).toThrow(expect.objectContaining({ code: "closed" }));
      vi.unstubAllGlobals();
    }
  });
});

describe("middleware", () => {
  it("immer inside writes records in place", async () => {
    const { server, board } = await ready();
    const store = createStore<State>()(
      tidewire(board, { cards: "cards" }, immer((set) => ({
        column: "todo",
        choose: (column) => set((s) => {
          s.cards.a!.column = column;
          s.column = column;
        }),
      }))),
    );
    store.getState().choose("done");
    expect(store.getState()).toMatchObject({ column: "done", cards: { a: { column: "done" } } });
    await until(() => server.record(BOARD, "cards", "a")?.column === "done");
  });

  it("persist with localPart keeps records out of storage, and stored ones make no mutation", async () => {
    const { server, board } = await ready();
    const kept = new Map<string, string>([
      ["s", JSON.stringify({ state: { column: "kept", cards: { old: { title: "old" } } }, version: 0 })],
    ]);
    const storage = createJSONStorage<State>(() => ({
      getItem: (k) => kept.get(k) ?? null,
      setItem: (k, v) => void kept.set(k, v),
      removeItem: (k) => void kept.delete(k),
    }));
    const store = createStore<State>()(
      persist(
        tidewire(board, { cards: "cards" }, (set) => ({ column: "todo", choose: (column) => set({ column }) })),
        { name: "s", storage: storage!, partialize: localPart },
      ),
    );
    expect(store.getState().column).toBe("kept");
    expect(Object.keys(store.getState().cards)).toEqual(["a", "b"]);
    store.getState().choose("done");
    expect(JSON.parse(kept.get("s")!).state).toEqual({ column: "done" });
    await store.persist.rehydrate();
    expect(Object.keys(store.getState().cards)).toEqual(["a", "b"]);
    expect(server.frames("push")).toEqual([]);
  });

  it("devtools and subscribeWithSelector go on working", async () => {
    const { server, board } = await ready();
    const sent: unknown[] = [];
    let travel: (message: object) => void = () => {};
    const extension = {
      connect: () => ({
        init: () => {},
        send: (action: { type: string }) => void sent.push(action.type),
        subscribe: (f: typeof travel) => void (travel = f),
      }),
    };
    vi.stubGlobal("__REDUX_DEVTOOLS_EXTENSION__", extension);
    (window as unknown as Record<string, unknown>).__REDUX_DEVTOOLS_EXTENSION__ = extension;
    const store = createStore<State>()(
      devtools(
        subscribeWithSelector(
          tidewire(board, { cards: "cards" }, (set) => ({ column: "todo", choose: (column) => set({ column }) })),
        ),
        { enabled: true },
      ),
    );
    const titles: unknown[] = [];
    store.subscribe((s) => s.cards.a?.title, (title) => titles.push(title));
    store.setState((s) => ({ cards: { ...s.cards, a: { ...s.cards.a!, title: "mine" } } }), false, "rename");
    expect(titles).toEqual(["mine"]);
    expect(sent).toContain("rename");
    await until(() => server.frames("push").length === 1);
    const old = JSON.stringify({ ...store.getState(), column: "then", cards: {} });
    travel({ type: "DISPATCH", payload: { type: "JUMP_TO_STATE" }, state: old });
    expect(store.getState().column).toBe("then");
    expect(Object.keys(store.getState().cards)).toEqual(["a", "b"]);
    expect(server.frames("push")).toHaveLength(1);
  });

  it("goes around and inside in whichever order", async () => {
    const { server, board } = await ready();
    const local = () => ({ column: "todo", choose: () => {} });
    const storage = createJSONStorage<State>(() => ({ getItem: () => null, setItem: () => {}, removeItem: () => {} }))!;
    const keep = { name: "s", storage, partialize: localPart<State> };
    const tools = { enabled: false };
    const stores = [
      createStore<State>()(devtools(persist(tidewire(board, { cards: "cards" }, local), keep), tools)),
      createStore<State>()(persist(devtools(tidewire(board, { cards: "cards" }, local), tools), keep)),
      createStore<State>()(subscribeWithSelector(persist(tidewire(board, { cards: "cards" }, immer(local)), keep))),
      createStore<State>()(persist(subscribeWithSelector(tidewire(board, { cards: "cards" }, local)), keep)),
    ];
    for (const [n, store] of stores.entries()) {
      const edit = (s: State): Partial<State> => ({ cards: { ...s.cards, a: { ...s.cards.a!, title: `by ${n}` } } });
      (store.setState as (partial: typeof edit) => void)(edit);
      for (const every of stores) expect(every.getState().cards.a?.title).toBe(`by ${n}`);
      await until(() => server.record(BOARD, "cards", "a")?.title === `by ${n}`);
    }
    expect(server.frames("push")).toHaveLength(stores.length);
  });
});

// Its types: tests/types.zustand.ts, which is checked with both.
it("Zustand 4 works too, also with its middleware around", async () => {
  const { board, server } = await ready();
  const mirror = tidewire(board, { cards: "cards" }, (set: (s: Partial<State>) => void) => ({
    column: "todo",
    choose: (column: string) => set({ column }),
  })) as never;
  const keep = { name: "four", partialize: localPart, skipHydration: true } as object as never;
  const store = createStore4<State>()(devtools4(persist4(mirror, keep), { enabled: false }) as never);
  store.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: "four" } } }));
  await until(() => server.record(BOARD, "cards", "a")?.title === "four");
  store.getState().choose("done");
  expect(store.getState()).toMatchObject({ column: "done", cards: { a: { title: "four" } } });
  store.setState(store.getInitialState(), true);
  expect(store.getState()).toMatchObject({ column: "todo", cards: { a: { title: "four" } } });
});

describe("in React", () => {
  it("a store opens its channel while mounted, also in StrictMode, and renders for what is selected only", async () => {
    const { server, board } = setup({ wasm });
    const useStore = create(tidewire(board, { cards: "cards" }, () => ({ column: "todo" })));
    expect(server.sockets).toEqual([]);
    let renders = 0;
    function Title(): ReactNode {
      renders += 1;
      return <p>{useStore((s) => s.cards.a?.title)}</p>;
    }
    const { container, unmount } = render(<StrictMode><Title /></StrictMode>);
    await until(() => container.textContent === "A");
    expect(server.sockets).toHaveLength(1);
    const settled = renders;
    act(() => void board.set("cards", "b", { title: "other" }));
    expect(renders).toBe(settled);
    act(() => void useStore.setState((s) => ({ cards: { ...s.cards, a: { ...s.cards.a!, title: "mine" } } })));
    expect(container.textContent).toBe("mine");
    unmount();
  });
});

it("types know the mirrored keys from the schema", async () => {
  const { board } = await ready();
  const store = createStore(tidewire(board, { cards: "cards" }, () => ({ column: "todo" })));
  const title: string | undefined = store.getState().cards.a?.title;
  const column: string = store.getState().column;
  expect([title, column]).toEqual(["A", "todo"]);
  () => {
    // @ts-expect-error -- no such key
    store.getState().crads;
    // @ts-expect-error -- no such field
    store.getState().cards.a?.titel;
    // @ts-expect-error -- no such collection
    tidewire(board, { cards: "crads" }, () => ({}));
    // @ts-expect-error -- wrong type
    store.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: 7 } } }));
  };
});
