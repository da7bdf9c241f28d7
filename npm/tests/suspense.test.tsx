// @vitest-environment happy-dom
// Components that wait for the first view below a Suspense boundary.

import type { RenderResult } from "@testing-library/react";
import { act, render as renderNow } from "@testing-library/react";
import type { ReactNode } from "react";
import { Activity, Component, Suspense, use } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { TidewireError } from "../dist/index.js";
import { useReady, useRecord } from "../dist/react.js";
import { BOARD, ready as open, setup } from "./support/board.js";
import { page, until, useBoard, wasm } from "./support/page.js";
import { arrive } from "./support/until.js";

/** Shows the error's code, and its children anew when it is told to. */
class Boundary extends Component<{ children: ReactNode }, { error?: TidewireError | undefined }> {
  override state: { error?: TidewireError | undefined } = {};
  static getDerivedStateFromError(error: TidewireError): object {
    return { error };
  }
  override render(): ReactNode {
    const { error } = this.state;
    if (!error) return this.props.children;
    return <button onClick={() => this.setState({ error: undefined })}>{error.code}</button>;
  }
}

const ways = {
  useReady: function Waiting(): ReactNode {
    const board = useBoard();
    useReady(board);
    return <p>{useRecord(board, "cards", "a")?.title ?? "nothing"}</p>;
  },
  "use(ready())": function Waiting(): ReactNode {
    const board = useBoard();
    use(board.ready());
    return <p>{useRecord(board, "cards", "a")?.title ?? "nothing"}</p>;
  },
};

function suspended(what: ReactNode): ReactNode {
  return (
    <Boundary>
      <Suspense fallback="waiting">{what}</Suspense>
    </Boundary>
  );
}

/** React wants `act` awaited where components suspend with `use`. */
async function render(what: ReactNode, options: Parameters<typeof renderNow>[1]): Promise<RenderResult> {
  let result: RenderResult | undefined;
  await act(async () => void (result = renderNow(what, options)));
  return result as RenderResult;
}

const shown = (): string => document.body.textContent;

let unhandled: unknown[];
const note = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  unhandled = [];
  process.on("unhandledRejection", note);
});
afterEach(async () => {
  await arrive();
  process.off("unhandledRejection", note);
  vi.restoreAllMocks();
  vi.useRealTimers();
  expect(unhandled).toEqual([]);
});

describe("ready()", () => {
  it("is one promise until something changes, and settled for whoever comes later", async () => {
    const { board } = setup({ wasm });
    const first = board.ready();
    expect(board.ready()).toBe(first);
    await first;
    expect(board.ready()).toBe(first);
    expect((first as { status?: string }).status).toBe("fulfilled");
    board.close();
    expect(board.ready()).not.toBe(first);
    await expect(board.ready()).rejects.toMatchObject({ code: "closed" });
  });

  it("that failed is replaced by the next call", async () => {
    const { server, board } = setup({ wasm });
    server.grant = () => ({ code: 2004, detail: "not yours" });
    const first = board.ready();
    await expect(first).rejects.toMatchObject({ code: "forbidden" });
    server.grant = () => undefined;
    const second = board.ready();
    expect(second).not.toBe(first);
    await second;
  });

  it("need not be looked at, also if it fails", async () => {
    const { server, board } = setup({ wasm });
    server.grant = () => ({ code: 2004, detail: "not yours" });
    void board.ready();
    await until(() => board.status === "failed");
  });
});

describe.each(Object.entries(ways))("a component that waits by %s", (_, Waiting) => {
  it("shows the fallback, then the view, on one connection and subscription", async () => {
    const { server, wrapper } = page();
    const fallback = vi.fn(() => "waiting");
    const Fallback = (): ReactNode => fallback();
    const two = [<Waiting key="1" />, <Waiting key="2" />];
    await render(<Suspense fallback={<Fallback />}>{two}</Suspense>, { wrapper });
    expect(fallback).toHaveBeenCalled();
    await until(() => shown() === "AA");
    expect(server.sockets).toHaveLength(1);
    expect(server.frames("subscribe")).toHaveLength(1);
  });

  it("shows a view that is there without a fallback", async () => {
    const { board, wrapper } = page();
    await act(() => board.ready());
    const seen: string[] = [];
    const Fallback = (): ReactNode => {
      seen.push("fallback");
      return "waiting";
    };
    await render(<Suspense fallback={<Fallback />}><Waiting /></Suspense>, { wrapper });
    // React's `use` reads a settled promise at once only if it says that it is settled.
    expect(shown()).toBe("A");
    expect(seen).toEqual([]);
  });

  it("gives the failure to the error boundary, and tries again when that is reset later", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    vi.useFakeTimers({ toFake: ["Date"] });
    const { server, wrapper } = page();
    server.grant = () => ({ code: 2004, detail: "not yours" });
    const { container } = await render(suspended(<Waiting />), { wrapper });
    await until(() => shown() === "forbidden");
    const tries = server.frames("subscribe").length;
    expect(tries).toBe(1);
    server.grant = () => undefined;
    vi.setSystemTime(Date.now() + 2000);
    await act(async () => container.querySelector("button")?.click());
    await until(() => shown() === "A");
  });

  it("lets go after it was unmounted, and 5 seconds", async () => {
    const { server, client, board, wrapper } = page();
    const { unmount } = await render(suspended(<Waiting />), { wrapper });
    await until(() => shown() === "A");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    unmount();
    vi.advanceTimersByTime(4900);
    expect(server.open).toHaveLength(1);
    vi.advanceTimersByTime(200);
    expect(server.open).toEqual([]);
    expect(board.status).toBe("idle");
    expect(client.connection.state).toBe("idle");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("lets go if it was dropped before the view was there", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const { server, client, board, wrapper } = page();
    const { unmount } = await render(suspended(<Waiting />), { wrapper });
    unmount();
    await until(() => board.status === "live");
    vi.advanceTimersByTime(10_100);
    expect(board.status).toBe("idle");
    expect(client.connection.state).toBe("idle");
    expect(server.open).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("useReady", () => {
  const Waiting = ways.useReady;

  it("goes on waiting for a server that takes long, and lets go of one that never answers", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const { server, client, board, wrapper } = page();
    const answer = vi.spyOn(server, "handle");
    const held: (() => void)[] = [];
    const real = answer.getMockImplementation() ?? Object.getPrototypeOf(server).handle.bind(server);
    answer.mockImplementation((socket, frame) => void held.push(() => real(socket, frame)));
    const first = await render(suspended(<Waiting />), { wrapper });
    await until(() => held.length > 0);
    for (let seconds = 0; seconds < 20; seconds += 4) {
      vi.advanceTimersByTime(4000);
      await act(arrive);
      expect(board.status).toBe("loading");
    }
    expect(shown()).toBe("waiting");
    answer.mockImplementation(real);
    for (const go of held.splice(0)) go();
    await until(() => shown() === "A");
    first.unmount();
    vi.advanceTimersByTime(5100);
    expect(board.status).toBe("idle");

    answer.mockImplementation(() => {});
    const second = await render(suspended(<Waiting />), { wrapper });
    await until(() => board.status === "loading");
    second.unmount();
    vi.advanceTimersByTime(10_100);
    await act(arrive);
    vi.advanceTimersByTime(10_100);
    expect(board.status).toBe("idle");
    expect(client.connection.state).toBe("idle");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("says why a client that has stopped will have no view, and waits again once it connects", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    vi.useFakeTimers({ toFake: ["Date"] });
    const { server, client, wrapper } = page();
    server.admit = () => ({ code: 2001, detail: "who are you" });
    const { container } = await render(suspended(<Waiting />), { wrapper });
    await until(() => shown() === "unauthenticated");
    server.admit = () => undefined;
    vi.setSystemTime(Date.now() + 2000);
    await act(async () => container.querySelector("button")?.click());
    expect(shown()).toBe("unauthenticated");
    act(() => client.connect());
    vi.setSystemTime(Date.now() + 2000);
    await act(async () => container.querySelector("button")?.click());
    await until(() => shown() === "A");
  });

  it("throws to the boundary when the server takes back the right to read", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const { server, wrapper } = page();
    await render(suspended(<Waiting />), { wrapper });
    await until(() => shown() === "A");
    const [socket] = server.open;
    act(() => socket?.deliver([{ error: { code: 2004, detail: "no more", fatal: false, channel: BOARD } }]));
    await until(() => shown() === "forbidden");
  });

  it("in a tree that is hidden uses nothing, and waits anew when that is shown after 5 seconds", async () => {
    const { server, board, wrapper } = page();
    const tree = (mode: "visible" | "hidden"): ReactNode => <Activity mode={mode}>{suspended(<Waiting />)}</Activity>;
    const { rerender } = await render(tree("visible"), { wrapper });
    await until(() => shown() === "A");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    rerender(tree("hidden"));
    vi.advanceTimersByTime(5100);
    await act(arrive);
    expect(board.status).toBe("idle");
    expect(server.open).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    rerender(tree("visible"));
    await until(() => board.status === "live" && shown().endsWith("A"));
    expect(server.open).toHaveLength(1);
  });

  it("is no obstacle to a channel that was opened before, which stays open as its owner wants", async () => {
    const { board, client } = await open({ wasm });
    expect(client.channel(BOARD)).toBe(board);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    board.on("status", () => {})();
    vi.advanceTimersByTime(20_000);
    expect(board.status).toBe("live");
  });
});
