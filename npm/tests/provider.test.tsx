// @vitest-environment happy-dom
// A provider that owns its client: made once per user, closed when the user is another one or the provider has gone.

import { act, cleanup, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { Component, StrictMode, Suspense, useState } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, describe, expect, it, vi } from "vitest";

import type { Client, ClientOptions } from "../dist/index.js";
import { TidewireProvider, useClient, useReady, useRecord } from "../dist/react.js";
import { BOARD, boardServer } from "./support/board.js";
import type { FakeServer } from "./support/server.js";
import { until, useBoard, wasm } from "./support/page.js";

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

/** Every client that a component was rendered with. */
let clients: Set<Client>;

function Title(): ReactNode {
  clients.add(useClient());
  return <p>{useRecord(useBoard(), "cards", "a")?.title}</p>;
}

function setUp(): { server: FakeServer; options: (token?: ClientOptions["token"]) => ClientOptions; tokens: () => string[] } {
  clients = new Set();
  const server = boardServer();
  return {
    server,
    options: (token = "dev:ana") => ({ url: "http://tide.test", token, WebSocket: server.WebSocket, wasm }),
    tokens: () => server.frames("hello").map((hello) => hello.token as string),
  };
}

describe("a provider with options", () => {
  it("makes one client, whatever is rendered again and in StrictMode", async () => {
    const { server, options } = setUp();
    const App = (): ReactNode => <StrictMode><TidewireProvider options={options()} identity="ana"><Title /></TidewireProvider></StrictMode>;
    const { container, rerender } = render(<App />);
    await until(() => container.textContent === "A");
    for (let n = 0; n < 5; n += 1) rerender(<App />);
    expect(clients.size).toBe(1);
    expect(server.sockets).toHaveLength(1);
    expect([...clients][0]?.connection.state).toBe("connected");
  });

  it("closes the client of a user who left, and makes another, also in StrictMode and back again", async () => {
    const { server, options, tokens } = setUp();
    const App = ({ user }: { user: string | undefined }): ReactNode => (
      <StrictMode>
        <TidewireProvider options={options(() => `dev:${user ?? "guest"}`)} identity={user}>
          <Title />
        </TidewireProvider>
      </StrictMode>
    );
    const { container, rerender } = render(<App user="ana" />);
    for (const [n, user] of ["ana", "ben", "ana", undefined].entries()) {
      rerender(<App user={user} />);
      await until(() => tokens().length === n + 1 && container.textContent === "A");
      expect(tokens().at(-1)).toBe(`dev:${user ?? "guest"}`);
      expect(server.open).toHaveLength(1);
      expect(clients.size).toBe(n + 1);
      const states = [...clients].map((client) => client.connection.state);
      expect(states).toEqual([...Array<string>(n).fill("closed"), "connected"]);
    }
  });

  it("asks the token of the latest render", async () => {
    const { server, options, tokens } = setUp();
    const App = ({ token }: { token: string }): ReactNode => (
      <TidewireProvider options={{ ...options(() => token), retry: { baseMs: 1, maxMs: 1 } }} identity="ana"><Title /></TidewireProvider>
    );
    const { container, rerender } = render(<App token="dev:ana#1" />);
    await until(() => container.textContent === "A");
    rerender(<App token="dev:ana#2" />);
    server.cut();
    await until(() => tokens().length === 2);
    expect(tokens()).toEqual(["dev:ana#1", "dev:ana#2"]);
    expect(clients.size).toBe(1);
  });

  it("keeps the client of a first render that suspends above it", async () => {
    const { server, options } = setUp();
    function Waits(): ReactNode {
      useReady(useBoard());
      return <Title />;
    }
    const { container } = render(
      <StrictMode>
        <Suspense fallback="…"><TidewireProvider options={options()} identity="ana"><Waits /></TidewireProvider></Suspense>
      </StrictMode>,
    );
    expect(container.textContent).toBe("…");
    await until(() => container.textContent === "A");
    expect(server.sockets).toHaveLength(1);
  });

  it("closes it when it has gone for five seconds, and when nobody commits what was rendered", async () => {
    const { server, options } = setUp();
    const { container, unmount } = render(<TidewireProvider options={options()}><Title /></TidewireProvider>);
    await until(() => container.textContent === "A");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    unmount();
    expect([...clients][0]?.connection.state).toBe("connected");
    vi.advanceTimersByTime(5000);
    expect([...clients][0]?.connection.state).toBe("closed");
    expect(server.open).toEqual([]);

    clients.clear();
    const never = new Promise<void>(() => {});
    function Never(): ReactNode {
      clients.add(useClient());
      throw never;
    }
    const dropped = render(<Suspense fallback="…"><TidewireProvider options={options()}><Never /></TidewireProvider></Suspense>);
    dropped.unmount();
    vi.advanceTimersByTime(10_000);
    expect([...clients].map((client) => client.connection.state)).toEqual(["closed"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("does not lose it when it is unmounted and mounted again at once", async () => {
    const { options } = setUp();
    let show: (on: boolean) => void = () => {};
    function App(): ReactNode {
      const [on, set] = useState(true);
      show = set;
      return on ? <TidewireProvider options={options()} identity="ana"><Title /></TidewireProvider> : "off";
    }
    const { container } = render(<App />);
    await until(() => container.textContent === "A");
    act(() => show(false));
    act(() => show(true));
    await until(() => container.textContent === "A");
    expect([...clients].at(-1)?.connection.state).toBe("connected");
  });

  it("shows nobody what was rendered for another user", async () => {
    const { server, options } = setUp();
    server.grant = (channel) => (channel === BOARD ? { code: 2004, detail: "no" } : undefined);
    const initial = { [BOARD]: { cards: { a: { title: "ana's" } } } };
    const App = ({ user }: { user: string }): ReactNode => (
      <TidewireProvider options={options(`dev:${user}`)} identity={user} initial={initial}><Title /></TidewireProvider>
    );
    const { container, rerender } = render(<App user="ana" />);
    expect(container.textContent).toBe("ana's");
    rerender(<App user="ben" />);
    expect(container.textContent).toBe("");
  });

  it("opens nothing on a server, where visitors share nothing", () => {
    const { server, options } = setUp();
    vi.stubGlobal("document", undefined);
    delete (globalThis as { document?: unknown }).document;
    for (let n = 0; n < 2; n += 1) renderToString(<TidewireProvider options={options()} identity="ana"><Title /></TidewireProvider>);
    vi.unstubAllGlobals();
    expect(clients.size).toBe(2);
    expect(server.sockets).toEqual([]);
  });

  it("refuses what cannot be right", () => {
    const { options } = setUp();
    const errors: unknown[] = [];
    class Boundary extends Component<{ children: ReactNode }> {
      override state = { failed: false };
      static getDerivedStateFromError(): object {
        return { failed: true };
      }
      override componentDidCatch(error: unknown): void {
        errors.push(error);
      }
      override render(): ReactNode {
        return this.state.failed ? "failed" : this.props.children;
      }
    }
    vi.spyOn(console, "error").mockImplementation(() => {});
    const bad: object[] = [{}, { options: { ...options(), tokn: "x" } }, { options: options(), identity: { id: 1 } }, { options: { token: "t" } }];
    for (const props of bad) render(<Boundary>{<TidewireProvider {...(props as { options: ClientOptions })}>x</TidewireProvider>}</Boundary>);
    expect(errors).toMatchObject([{ code: "invalid" }, { code: "invalid" }, { code: "invalid" }, { code: "invalid_url" }]);
    vi.restoreAllMocks();
  });
});
