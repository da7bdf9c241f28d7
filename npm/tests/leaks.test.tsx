// @vitest-environment happy-dom
// What is left of components, stores and clients that nobody uses any more: nothing.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { act, cleanup, render } from "@testing-library/react";
import type { FunctionComponent, ReactNode } from "react";
import { StrictMode, Suspense } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { create } from "zustand";

import type { Client } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import {
  TidewireProvider,
  useChannelStatus,
  useCollection,
  useConnection,
  useMutation,
  usePending,
  usePresence,
  useReady,
  useRecord,
} from "../dist/react.js";
import { tidewire } from "../dist/zustand.js";
import type { Board } from "./support/board.js";
import { BOARD, boardServer } from "./support/board.js";
import type { FakeServer } from "./support/server.js";
import { page, until, useBoard, wasm } from "./support/page.js";

let listeners: number;

beforeEach(() => {
  listeners = 0;
  // Only what tidewire starts: React and the test library were imported before.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
  for (const target of [globalThis, document] as EventTarget[]) {
    const { addEventListener, removeEventListener } = target;
    // React listens to this one for as long as there is a document.
    const counts = (type: string): number => (type === "selectionchange" ? 0 : 1);
    vi.spyOn(target, "addEventListener").mockImplementation((...args) => {
      listeners += counts(args[0]);
      addEventListener.apply(target, args);
    });
    vi.spyOn(target, "removeEventListener").mockImplementation((...args) => {
      listeners -= counts(args[0]);
      removeEventListener.apply(target, args);
    });
  }
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

function Everything(): ReactNode {
  const board = useBoard();
  useReady(board);
  useConnection();
  usePresence(board, { x: 1, y: 1 });
  const rename = useMutation((title: string) => board.set("cards", "a", { title }));
  const title = useRecord(board, "cards", "a", (c) => c?.title);
  const cards = useCollection(board, "cards", { filter: (c) => c.column === "todo" });
  return [title, cards.length, String(usePending(board, "cards", "a")), useChannelStatus(board), rename.status].join(" ");
}

const suspending = (what: ReactNode): ReactNode => <Suspense fallback="waiting">{what}</Suspense>;
const shown = (): string => document.body.textContent;

/** What costs something while nobody looks: sockets that are open, timers that run, listeners of the page. */
function left(...servers: FakeServer[]): object {
  return { sockets: servers.flatMap((s) => s.open).length, timers: vi.getTimerCount(), listeners };
}

describe("components", () => {
  it("that are mounted and unmounted a hundred times use one connection, and leave nothing", async () => {
    const { server, client, board, wrapper } = page();
    const before = left(server);
    for (let round = 0; round < 100; round++) {
      const { unmount } = render(suspending(<Everything />), { wrapper });
      if (round % 10 === 0) await until(() => shown().includes("live"));
      unmount();
      vi.advanceTimersByTime(10);
    }
    expect(server.sockets).toHaveLength(1);
    vi.advanceTimersByTime(10_100);
    expect(left(server)).toEqual(before);
    expect([client.connection.state, board.status]).toEqual(["idle", "idle"]);
  });

  it("of which the code is replaced while the page runs go on with their connection", async () => {
    const { server, client, wrapper } = page();
    // What React Refresh does with a component whose hooks are others now: another type, mounted anew.
    const version = (n: number): FunctionComponent => () => <i>{`v${n} `}<Everything /></i>;
    const versions = Array.from({ length: 20 }, (_, n) => version(n));
    const { rerender, unmount } = render(null, { wrapper });
    for (const [n, Version] of versions.entries()) {
      rerender(suspending(<Version />));
      await until(() => shown().startsWith(`v${n}`) && shown().includes("live"));
    }
    expect(server.sockets).toHaveLength(1);
    expect(server.frames("subscribe")).toHaveLength(1);
    unmount();
    vi.advanceTimersByTime(10_100);
    expect(left(server)).toMatchObject({ sockets: 0, timers: 0, listeners: 0 });
    expect(client.connection.state).toBe("idle");
  });

  it("whose module made a new client each time it was replaced leave one connection 5 seconds later", async () => {
    const server = boardServer();
    const clients: Client[] = [];
    const make = (): Client => {
      const client = createClient({ url: "http://tide.test", token: "dev:ana", WebSocket: server.WebSocket, wasm });
      clients.push(client);
      return client;
    };
    const tree = (client: Client): ReactNode => (
      <StrictMode>
        <TidewireProvider client={client}>{suspending(<Everything />)}</TidewireProvider>
      </StrictMode>
    );
    const { rerender, unmount } = render(tree(make()));
    await until(() => shown().includes("live"));
    for (let round = 0; round < 5; round++) {
      rerender(tree(make()));
      await until(() => clients.at(-1)?.connection.state === "connected" && shown().includes("live"));
    }
    act(() => void vi.advanceTimersByTime(10_100));
    expect(server.open).toHaveLength(1);
    expect(clients.map((client) => client.connection.state)).toEqual([...Array(5).fill("idle"), "connected"]);
    unmount();
    vi.advanceTimersByTime(10_100);
    expect(left(server)).toMatchObject({ sockets: 0, timers: 0, listeners: 0 });
    cleanup();
  });
});

describe("a Zustand store", () => {
  it("that components used leaves nothing, and is used again as before", async () => {
    const { server, client, board, wrapper } = page();
    const before = left(server);
    const useStore = create(tidewire(client.channel<Board>(BOARD), { cards: "cards" }, () => ({ column: "todo" })));
    const Titles = (): ReactNode => useStore((s) => Object.values(s.cards).map((c) => c.title).join(""));
    for (const title of ["A", "A2"]) {
      const { unmount } = render(<Titles />, { wrapper });
      await until(() => shown() === `${title}B`);
      expect(server.open).toHaveLength(1);
      unmount();
      vi.advanceTimersByTime(5100);
      expect(left(server)).toEqual(before);
      expect(board.status).toBe("idle");
      server.merge(BOARD, "cards", "a", { title: "A2" });
    }
  });
});

describe("a client", () => {
  it("that was used and let go is collected with its channels, whether it was closed or not", async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const used = async (close: boolean): Promise<WeakRef<object>[]> => {
      const server = boardServer();
      const client = createClient({ url: "http://tide.test", token: "dev:ana", WebSocket: server.WebSocket, wasm });
      const board = client.channel<Board>(BOARD);
      render(
        <TidewireProvider client={client}>{suspending(<Everything />)}</TidewireProvider>,
      );
      await until(() => shown().includes("live"));
      await act(() => board.set("cards", "a", { title: "x" }).committed);
      cleanup();
      vi.advanceTimersByTime(10_100);
      if (close) client.close();
      expect(client.connection.state).toBe(close ? "closed" : "idle");
      return [new WeakRef(client), new WeakRef(board), new WeakRef(server)];
    };
    const refs = [...(await used(false)), ...(await used(true))];
    // The spies remember what they were called with.
    vi.clearAllMocks();
    const alive = (): number => refs.filter((ref) => ref.deref() !== undefined).length;
    for (let turn = 0; turn < 50 && alive() > 0; turn += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      gc();
    }
    expect(alive()).toBe(0);
  });
});
