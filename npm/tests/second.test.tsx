// @vitest-environment happy-dom
// The second case: two channels, more than one batch, a closure or a name that is another one at the next render.

import { act, renderHook } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { createStore } from "zustand/vanilla";

import type { Channel, Mutation } from "../dist/index.js";
import { useChannel, useChannelStatus, useCollection, useMutation, usePending, usePresence, useRecord } from "../dist/react.js";
import { tidewire } from "../dist/zustand.js";
import type { Board, Pointer } from "./support/board.js";
import { BOARD, card, ready } from "./support/board.js";
import { page, until, useBoard, wasm } from "./support/page.js";

const OTHER = "board:other";

describe("what a hook is given at a later render counts", () => {
  it("useCollection: a filter and an order that close over another value", async () => {
    const { server, board, wrapper } = page();
    server.put(BOARD, "cards", "c", card({ title: "C", column: "done", position: 5 }));
    server.put(BOARD, "cards", "d", card({ title: "D", column: "done", position: 4 }));
    await act(() => board.ready());
    const { result, rerender } = renderHook(
      ({ column, sign }) =>
        useCollection(useBoard(), "cards", { filter: (c) => c.column === column, sortBy: (c) => sign * c.position }).map((c) => c.id),
      { wrapper, initialProps: { column: "todo", sign: 1 } },
    );
    expect(result.current).toEqual(["a", "b"]);
    rerender({ column: "done", sign: 1 });
    expect(result.current).toEqual(["d", "c"]);
    rerender({ column: "done", sign: -1 });
    expect(result.current).toEqual(["c", "d"]);
    // And what arrives then is looked at by the latest.
    act(() => void board.put("cards", "e", card({ column: "done", position: 9 })));
    expect(result.current).toEqual(["e", "c", "d"]);
    act(() => void board.set("cards", "c", { column: "todo" }));
    expect(result.current).toEqual(["e", "d"]);
    rerender({ column: "todo", sign: -1 });
    expect(result.current).toEqual(["c", "b", "a"]);
  });

  it("useRecord and usePending: another id, collection and selector", async () => {
    const { server, board, wrapper } = page();
    server.put(BOARD, "columns", "a", { title: "a column" });
    await act(() => board.ready());
    server.holding = true;
    const { result, rerender } = renderHook(
      ({ id, field }: { id: string; field: "title" | "column" }) => ({
        value: useRecord(useBoard(), "cards", id, (c) => c?.[field]),
        pending: usePending(useBoard(), "cards", id),
      }),
      { wrapper, initialProps: { id: "a", field: "title" } },
    );
    expect(result.current.value).toBe("A");
    rerender({ id: "b", field: "title" });
    expect(result.current.value).toBe("B");
    rerender({ id: "b", field: "column" });
    expect(result.current.value).toBe("todo");
    act(() => void board.set("cards", "b", { column: "done" }));
    expect(result.current).toEqual({ value: "done", pending: true });
    rerender({ id: "a", field: "column" });
    expect(result.current).toEqual({ value: "todo", pending: false });
  });

  it("useMutation: the function of the latest render, by a `run` that stays", async () => {
    const { server, board, wrapper } = page();
    await act(() => board.ready());
    const { result, rerender } = renderHook(
      ({ id }) => {
        const own = useBoard();
        return useMutation((title: string): Mutation => own.set("cards", id, { title }));
      },
      { wrapper, initialProps: { id: "a" } },
    );
    const { run } = result.current;
    rerender({ id: "b" });
    expect(result.current.run).toBe(run);
    act(() => void run("by the second"));
    await until(() => result.current.status === "committed");
    expect(server.record(BOARD, "cards", "a")?.title).toBe("A");
    expect(server.record(BOARD, "cards", "b")?.title).toBe("by the second");
  });

  it("useChannel: another name lets go of the first, with its presence", async () => {
    const { server, client, wrapper } = page();
    server.put(OTHER, "cards", "a", { ...card({ title: "other" }) });
    const { result, rerender } = renderHook(
      ({ name, x }) => {
        const board = useChannel<Board, Pointer>(name);
        const peers = usePresence(board, { x, y: 0 });
        return { title: useRecord(board, "cards", "a")?.title, status: useChannelStatus(board), peers: peers.map((peer) => peer.data.x) };
      },
      { wrapper, initialProps: { name: BOARD, x: 1 } },
    );
    await until(() => result.current.title === "A" && server.frames("presenceSet").length > 0);
    server.announce(BOARD, 7, "bo", { x: 70, y: 0 });
    await until(() => result.current.peers.length === 1);
    rerender({ name: OTHER, x: 2 });
    await until(() => result.current.title === "other");
    expect(result.current.peers).toEqual([]);
    const last = (channel: string): unknown => {
      const said = server.frames("presenceSet").filter((frame) => frame.channel === channel).at(-1);
      return said?.data ? JSON.parse(Buffer.from(said.data).toString()) : undefined;
    };
    await until(() => last(OTHER) !== undefined && last(BOARD) === undefined);
    expect(last(OTHER)).toEqual({ x: 2, y: 0 });
    server.merge(OTHER, "cards", "a", { title: "more" });
    await until(() => result.current.title === "more");
    expect(client.channel<Board>(BOARD).status).toBe("live");
  });
});

describe("two channels of one client", () => {
  async function two(): Promise<{ server: Awaited<ReturnType<typeof ready>>["server"]; client: Awaited<ReturnType<typeof ready>>["client"]; first: Channel<Board, Pointer>; second: Channel<Board, Pointer> }> {
    const { server, client, board: first } = await ready({ wasm, retry: { baseMs: 1, maxMs: 2 } });
    server.put(OTHER, "cards", "a", { ...card({ title: "other" }) });
    const second = client.channel<Board, Pointer>(OTHER);
    await second.ready();
    return { server, client, first, second };
  }

  it("keep records, pending changes, events and presence apart", async () => {
    const { server, first, second } = await two();
    const [heard, watched] = [vi.fn(), vi.fn()];
    second.on("committed", heard);
    second.on("rejected", heard);
    second.on("change", heard);
    second.on("presence", heard);
    second.watch("cards", watched);
    second.watch("cards", "a", watched);
    server.holding = true;
    const mine = first.set("cards", "a", { title: "mine" });
    expect(first.pending("cards", "a")).toBe(true);
    expect(second.pending("cards", "a")).toBe(false);
    expect(second.get("cards", "a")?.title).toBe("other");
    server.release();
    await mine.committed;
    server.judge = () => ({ code: 3007, detail: "no" });
    await first.set("cards", "a", { title: "no" }).committed.catch(() => {});
    server.announce(BOARD, 5, "bo", { x: 1, y: 1 });
    server.write(BOARD, { put: { collection: "cards", id: "z", fields: [] } });
    await until(() => first.presence.peers.length === 1 && first.get("cards", "z") !== undefined);
    expect(second.presence.peers).toEqual([]);
    expect(heard).not.toHaveBeenCalled();
    expect(watched).not.toHaveBeenCalled();
    expect(() => second.set("cards", "a", { title: "x" }, { after: mine })).toThrow(/same channel/);
  });

  it("go their own ways: pause, close and refusal concern one alone", async () => {
    const { server, first, second } = await two();
    first.pause();
    const waits = first.set("cards", "a", { title: "later" });
    await second.set("cards", "a", { title: "now" }).committed;
    expect(waits.status).toBe("queued");
    expect(first.status).toBe("stale");
    expect(second.status).toBe("live");
    first.resume();
    await waits.committed;
    first.close();
    await second.set("cards", "a", { title: "still" }).committed;
    expect(server.record(OTHER, "cards", "a")?.title).toBe("still");
  });

  it("bring 600 changes each, made offline and in turn, to their servers in order, in batches that fit", async () => {
    const { server, client, first, second } = await two();
    server.refuseLinks();
    server.cut();
    await until(() => client.connection.state === "waiting");
    const made: Mutation[] = [];
    for (let n = 1; n <= 600; n += 1) {
      for (const board of [first, second]) made.push(board.set("cards", "a", { position: n }), board.put("cards", `n${n}`, card({ position: n })));
    }
    server.refusing = false;
    await Promise.all(made.map((mutation) => mutation.committed));
    for (const name of [BOARD, OTHER]) {
      const pushes = server.frames("push").filter((push) => push.channel === name);
      const items = pushes.flatMap((push) => (push.items as object[]).map((_, at) => (push.firstN as number) + at));
      expect(new Set(items).size).toBe(1200);
      expect(items).toEqual([...items].sort((a, b) => a - b));
      expect(pushes.length).toBeGreaterThan(1);
      for (const push of pushes) expect(push.items.length).toBeLessThanOrEqual(256);
      expect(server.record(name, "cards", "a")?.position).toBe(600);
    }
    expect(first.ids("cards")).toHaveLength(602);
    expect(second.ids("cards")).toHaveLength(601);
    expect(made.every((mutation) => mutation.status === "committed")).toBe(true);
  });

  it("are mirrored by two stores, and by two keys of one", async () => {
    const { server, first, second } = await two();
    const one = createStore(tidewire(first, { cards: "cards", lanes: "columns" }, () => ({})));
    const other = createStore(tidewire(second, { cards: "cards" }, () => ({})));
    one.setState(({ cards, lanes }) => ({
      cards: { ...cards, a: { ...cards.a!, title: "one" } },
      lanes: { ...lanes, l: { id: "l", title: "lane" } },
    }));
    other.setState(({ cards }) => ({ cards: { ...cards, a: { ...cards.a!, title: "two" } } }));
    await until(() => server.record(OTHER, "cards", "a")?.title === "two" && server.record(BOARD, "columns", "l") !== undefined);
    expect(server.record(BOARD, "cards", "a")?.title).toBe("one");
    expect(server.frames("push").filter((push) => push.channel === BOARD)).toHaveLength(1);
    expect(Object.keys(one.getState().lanes)).toEqual(["l"]);
    expect(other.getState().cards.a?.title).toBe("two");
  });
});
