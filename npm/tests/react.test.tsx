// @vitest-environment happy-dom
import { act, render, renderHook, screen } from "@testing-library/react";
import type { ReactNode } from "react";
import { useState } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";

import type { Client } from "../dist/index.js";
import {
  TidewireProvider,
  useChannelStatus,
  useCollection,
  useConnection,
  useMutation,
  usePending,
  usePresence,
  useRecord,
} from "../dist/react.js";
import { BOARD, card } from "./support/board.js";
import { page, until, useBoard } from "./support/page.js";

function Title({ id }: { id: string }): ReactNode {
  const board = useBoard();
  return <p data-testid={id}>{useRecord(board, "cards", id)?.title ?? "…"}</p>;
}

describe("hooks", () => {
  it("open one connection, also when StrictMode mounts twice and several components use a channel", async () => {
    const { server, wrapper } = page();
    render(
      <>
        <Title id="a" />
        <Title id="b" />
      </>,
      { wrapper },
    );
    await until(() => screen.getByTestId("b").textContent === "B");
    expect(screen.getByTestId("a").textContent).toBe("A");
    expect(server.sockets).toHaveLength(1);
    expect(server.frames("subscribe")).toHaveLength(1);
  });

  it("render a component again for its own records alone", async () => {
    const { server, wrapper } = page(false);
    const renders: Record<string, number> = {};
    function Counted({ id }: { id: string }): ReactNode {
      renders[id] = (renders[id] ?? 0) + 1;
      return useRecord(useBoard(), "cards", id)?.title ?? null;
    }
    render(
      <>
        <Counted id="a" />
        <Counted id="b" />
      </>,
      { wrapper },
    );
    await until(() => document.body.textContent === "AB");
    const before = { ...renders };
    server.merge(BOARD, "cards", "b", { title: "B2" });
    await until(() => document.body.textContent === "AB2");
    expect(renders).toEqual({ a: before.a, b: (before.b ?? 0) + 1 });
  });

  it("follow a collection, also with functions written inside the component", async () => {
    const { server, board, wrapper } = page();
    let renders = 0;
    const { result } = renderHook(
      () => {
        renders++;
        return useCollection(useBoard(), "cards", {
          filter: (c) => c.column === "todo",
          sortBy: (c) => -c.position,
        });
      },
      { wrapper },
    );
    await until(() => result.current.length === 2);
    expect(result.current.map((c) => c.id)).toEqual(["b", "a"]);
    const shown = result.current;
    const settled = renders;
    server.put(BOARD, "cards", "z", { ...card({ column: "done" }) });
    await until(() => board.get("cards", "z") !== undefined);
    expect(result.current).toBe(shown);
    expect(renders - settled).toBeLessThan(4);
    act(() => void board.set("cards", "a", { position: 7 }));
    expect(result.current.map((c) => c.id)).toEqual(["a", "b"]);
  });

  it("show one's own edit in the same event, and whether it is pending", async () => {
    const { server, board, wrapper } = page();
    const { result } = renderHook(
      () => {
        const own = useBoard();
        return { title: useRecord(own, "cards", "a")?.title, pending: usePending(own, "cards", "a") };
      },
      { wrapper },
    );
    await until(() => result.current.title === "A");
    expect(result.current.pending).toBe(false);
    server.holding = true;
    act(() => void board.set("cards", "a", { title: "mine" }));
    expect(result.current).toEqual({ title: "mine", pending: true });
    await until(() => server.frames("push").length === 1);
    server.release();
    await until(() => !result.current.pending);
    expect(result.current.title).toBe("mine");
  });

  it("follow a mutation to its end, and keep its error", async () => {
    const { server, wrapper } = page();
    const { result } = renderHook(
      () => {
        const board = useBoard();
        const rename = useMutation((title: string) => board.set("cards", "a", { title }));
        return { rename, title: useRecord(board, "cards", "a")?.title };
      },
      { wrapper },
    );
    await until(() => result.current.title === "A");
    expect(result.current.rename).toMatchObject({ status: "idle", isPending: false, error: undefined });
    act(() => void result.current.rename.run("one"));
    expect(result.current.rename.isPending).toBe(true);
    await until(() => result.current.rename.status === "committed");
    expect(result.current.rename.isPending).toBe(false);
    server.judge = () => ({ code: 3007, detail: "locked" });
    act(() => void result.current.rename.run("two"));
    await until(() => result.current.rename.status === "rejected");
    expect(result.current.rename.error).toMatchObject({ code: "refused", message: "locked" });
    expect(result.current.title).toBe("one");
    act(() => void result.current.rename.run("x".repeat(70_000)));
    expect(result.current.rename).toMatchObject({ status: "rejected", error: { code: "too_large" }, isPending: false });
    act(() => result.current.rename.reset());
    expect(result.current.rename).toMatchObject({ status: "idle", error: undefined });
  });

  it("show peers, and say something until the component unmounts", async () => {
    const { server, wrapper } = page();
    const { result, rerender, unmount } = renderHook(({ x }) => usePresence(useBoard(), { x, y: 0 }), {
      wrapper,
      initialProps: { x: 1 },
    });
    await until(() => server.frames("presenceSet").length > 0);
    server.announce(BOARD, 9, "bo", { x: 2, y: 2 });
    await until(() => result.current.length === 1);
    expect(result.current[0]).toMatchObject({ principal: "bo", data: { x: 2 } });
    const said = (): unknown[] =>
      server.frames("presenceSet").map(({ data }) => (data ? JSON.parse(Buffer.from(data).toString()).x : null));
    rerender({ x: 5 });
    await until(() => said().at(-1) === 5);
    unmount();
    await until(() => said().at(-1) === null);
  });

  it("tell the states of connection and channel", async () => {
    const { server, wrapper } = page();
    const { result } = renderHook(() => [useConnection().state, useChannelStatus(useBoard())], { wrapper });
    await until(() => result.current[1] === "live");
    expect(result.current).toEqual(["connected", "live"]);
    act(() => server.cut());
    expect(result.current).toEqual(["waiting", "stale"]);
  });

  it("survive that somebody closes the channel, and take the new one at the next render", async () => {
    const { board, wrapper } = page();
    const { result, rerender } = renderHook(
      () => {
        const own = useBoard();
        return [useRecord(own, "cards", "a")?.title, useChannelStatus(own)];
      },
      { wrapper },
    );
    await until(() => result.current[0] === "A");
    act(() => board.close());
    rerender();
    await until(() => result.current[0] === "A" && result.current[1] === "live");
  });

  it("below no provider say so", () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => void vi.restoreAllMocks());
    expect(() => renderHook(() => useConnection())).toThrow(/TidewireProvider/);
  });
});

describe("rendering on a server", () => {
  it("opens nothing and gives the same markup as the first render in the page", () => {
    const { server, client } = page();
    function App(): ReactNode {
      const board = useBoard();
      const cards = useCollection(board, "cards", { sortBy: "position" });
      const state = useConnection().state;
      usePresence(board, { x: 0, y: 0 });
      return <p>{`${state} ${useChannelStatus(board)} ${cards.length} ${usePending(board, "cards", "a")}`}</p>;
    }
    const html = renderToString(
      <TidewireProvider client={client}>
        <App />
      </TidewireProvider>,
    );
    expect(html).toBe("<p>idle idle 0 false</p>");
    expect(server.sockets).toEqual([]);
    expect(client.connection.state).toBe("idle");
  });
});

describe("unmounting", () => {
  const timers = new Set<unknown>();
  let listeners = 0;

  beforeEach(() => {
    timers.clear();
    listeners = 0;
    // Only what tidewire starts: React and the test library were imported before.
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    for (const target of [globalThis, document] as EventTarget[]) {
      const { addEventListener, removeEventListener } = target;
      vi.spyOn(target, "addEventListener").mockImplementation((...args) => {
        listeners++;
        addEventListener.apply(target, args);
      });
      vi.spyOn(target, "removeEventListener").mockImplementation((...args) => {
        listeners--;
        removeEventListener.apply(target, args);
      });
    }
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  function Everything({ onClient }: { onClient?: (client: Client) => void }): ReactNode {
    const board = useBoard();
    const [rename] = useState(() => (title: string) => board.set("cards", "a", { title }));
    useMutation(rename);
    useConnection();
    usePresence(board, { x: 1, y: 1 });
    void onClient;
    return (
      <>
        <Title id="a" />
        {useCollection(board, "cards").length}
        {String(usePending(board, "cards", "a"))}
        {useChannelStatus(board)}
      </>
    );
  }

  it("leaves no socket, timer or listener once 5 seconds are over, and mounting again starts afresh", async () => {
    const { server, client, board, wrapper } = page();
    const idle = { timers: vi.getTimerCount(), listeners };
    for (const round of [1, 2]) {
      const { unmount } = render(<Everything />, { wrapper });
      await until(() => board.status === "live");
      expect(server.open).toHaveLength(1);
      expect(server.sockets).toHaveLength(round);
      expect(vi.getTimerCount()).toBeGreaterThan(idle.timers);
      unmount();
      vi.advanceTimersByTime(4900);
      expect(server.open).toHaveLength(1);
      vi.advanceTimersByTime(200);
      expect(server.open).toEqual([]);
      expect({ timers: vi.getTimerCount(), listeners }).toEqual(idle);
      expect(client.connection.state).toBe("idle");
      expect(board.status).toBe("idle");
    }
  });

  it("for less than 5 seconds keeps the connection", async () => {
    const { server, board, wrapper } = page();
    const first = render(<Everything />, { wrapper });
    await until(() => board.status === "live");
    first.unmount();
    vi.advanceTimersByTime(4000);
    render(<Everything />, { wrapper });
    vi.advanceTimersByTime(20_000);
    await until(() => board.status === "live");
    expect(server.sockets).toHaveLength(1);
    expect(server.frames("subscribe")).toHaveLength(1);
  });

  it("does not lose an edit that the server has not answered", async () => {
    const { server, client, board, wrapper } = page();
    const { unmount } = render(<Title id="a" />, { wrapper });
    await until(() => board.status === "live");
    server.holding = true;
    const mutation = board.set("cards", "a", { title: "last words" });
    unmount();
    vi.advanceTimersByTime(6000);
    expect(board.status).toBe("idle");
    await until(() => server.frames("push").length > 0);
    server.release();
    await until(() => mutation.status === "committed");
    expect(server.record(BOARD, "cards", "a")?.title).toBe("last words");
    await until(() => client.connection.state === "idle");
    expect(server.open).toEqual([]);
  });
});
