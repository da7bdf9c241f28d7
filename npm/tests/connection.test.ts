import { readFileSync } from "node:fs";

import { describe, expect, it, onTestFinished, vi } from "vitest";

import { createClient, TidewireError } from "../dist/index.js";
import { socketUrl } from "../dist/url.js";
import { BOARD, boardServer, ready, setup } from "./support/board.js";
import { FakeServer } from "./support/server.js";
import { arrive, until } from "./support/until.js";

const fast = { baseMs: 1, maxMs: 2 };

describe("the connection", () => {
  it("is idle until a channel is used, and reading is not using", async () => {
    const { server, client, board } = setup();
    expect(client.connection.state).toBe("idle");
    expect(board.status).toBe("idle");
    expect(board.get("cards", "a")).toBeUndefined();
    expect(board.ids("cards")).toEqual([]);
    expect(board.select("cards")).toEqual([]);
    expect(board.presence.peers).toEqual([]);
    await arrive();
    expect(server.sockets).toEqual([]);
    await board.ready();
    expect(client.connection).toMatchObject({ state: "connected", transport: "websocket", reason: undefined });
    expect(client.connection.since).toBeGreaterThan(1.6e12);
    expect(client.principal).toBe("ana");
    expect(server.sockets[0]?.url).toBe("ws://tide.test/v1/ws");
    expect(server.sockets[0]?.protocols).toEqual(["tidewire.v1.proto"]);
  });

  it("tells each state as a new object", async () => {
    const { client, board } = setup();
    const states = [client.connection];
    client.on("connection", (state) => states.push(state));
    await board.ready();
    client.close();
    // Twice connecting: while the wasm loads, then with a transport.
    expect(states.map((s) => s.state)).toEqual(["idle", "connecting", "connecting", "connected", "closed"]);
    expect(new Set(states).size).toBe(states.length);
  });

  it("comes back by itself and resumes where it was", async () => {
    const { server, client, board } = await ready({ retry: fast });
    const events: unknown[] = [];
    board.on("stale", () => events.push("stale"));
    board.on("live", () => events.push("live"));
    board.on("recovered", (how) => events.push(how));
    const a = board.get("cards", "a");
    server.cut();
    expect(client.connection).toMatchObject({ state: "waiting", reason: { code: "network", retryable: true } });
    server.put(BOARD, "cards", "c", { title: "missed" });
    await until(() => board.status === "live");
    expect(events).toEqual(["stale", "live", { by: "replayed", entries: 1 }]);
    expect(board.get("cards", "a")).toBe(a);
    expect(board.ids("cards")).toEqual(["a", "b", "c"]);
    expect(server.frames("subscribe")[1]).toMatchObject({ have: { seq: 3 } });
  });

  it("gives up after the attempts that it was given, and connect starts again", async () => {
    const server = boardServer();
    let refuse = true;
    class Refusing extends server.WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        if (refuse) queueMicrotask(() => this.drop(1006, ""));
      }
    }
    const { client, board } = setup({ retry: { ...fast, attempts: 2 }, WebSocket: Refusing }, server);
    await expect(board.ready()).rejects.toMatchObject({ code: "gave_up", cause: { code: "network", retryable: true } });
    expect(client.connection).toMatchObject({ state: "closed", online: false });
    refuse = false;
    client.connect();
    await board.ready();
    expect(client.connection).toMatchObject({ state: "connected", online: true });
  });

  it("counts a constructor that throws as a failed attempt", async () => {
    const server = boardServer();
    let throws = 2;
    class Throwing extends server.WebSocket {
      constructor(url: string, protocols: string[]) {
        if (throws-- > 0) throw new SyntaxError("bad luck");
        super(url, protocols);
      }
    }
    const { client, board } = setup({ retry: fast, WebSocket: Throwing }, server);
    const reasons: unknown[] = [];
    client.on("connection", (state) => reasons.push(state.reason?.message));
    await board.ready();
    expect(reasons).toContain("bad luck");
  });

  it("ends one that sends what is no frame, and tries anew", async () => {
    const { server, client, board } = await ready({ retry: fast });
    const reasons: unknown[] = [];
    client.on("connection", (state) => reasons.push(state.reason?.code));
    server.sockets[0]?.onmessage?.({ data: new Uint8Array([1, 2, 3]).buffer });
    expect(reasons).toEqual(["malformed"]);
    await until(() => board.status === "live");
    server.sockets[1]?.onmessage?.({ data: "text" });
    expect(reasons.at(-1)).toBe("malformed");
    await until(() => board.status === "live");
    expect(server.open).toHaveLength(1);
  });
});

describe("a token", () => {
  it("is fetched before each connect, one at a time", async () => {
    let calls = 0;
    const { server, board } = await ready({ retry: fast, token: async () => `dev:ana#${++calls}` });
    server.cut();
    await until(() => board.status === "live");
    expect(server.frames("hello").map((hello) => hello.token)).toEqual(["dev:ana#1", "dev:ana#2"]);
  });

  it("that cannot be fetched is tried again", async () => {
    let calls = 0;
    const token = (): string => {
      if (++calls < 3) throw new Error("the token service is down");
      return "dev:ana";
    };
    const { client, board } = setup({ retry: fast, token });
    const reasons: unknown[] = [];
    client.on("connection", (state) => state.reason && reasons.push([state.reason.code, state.reason.message]));
    await board.ready();
    expect(reasons[0]).toEqual(["token", "the token service is down"]);
  });

  it("that will never be there ends it, with the application's own words", async () => {
    const token = async (): Promise<string> => {
      throw new TidewireError("token", "please sign in");
    };
    const { client, board } = setup({ token });
    await expect(board.ready()).rejects.toMatchObject({ code: "token", message: "please sign in", retryable: false });
    expect(client.connection.state).toBe("closed");
  });

  it("that is not a string is a mistake of the caller", async () => {
    const { board } = setup({ token: (() => 7) as unknown as () => string });
    await expect(board.ready()).rejects.toMatchObject({ code: "token", retryable: false });
  });

  it("that the server refuses is a typed, final error", async () => {
    const { server, client, board } = setup();
    server.admit = () => ({ code: 2001, detail: "who are you" });
    await expect(board.ready()).rejects.toMatchObject({ code: "unauthenticated", message: "who are you", retryable: false });
    expect(client.connection).toMatchObject({ state: "closed", reason: { code: "unauthenticated" } });
    server.admit = () => undefined;
    client.connect();
    await board.ready();
  });
});

describe("a channel", () => {
  it("that the server refuses fails with the reason, and others do not", async () => {
    const { server, client, board } = setup();
    server.grant = (name) => (name === BOARD ? { code: 2004, detail: "not yours" } : undefined);
    const failures: unknown[] = [];
    board.on("failed", (error) => failures.push(error.code));
    await expect(board.ready()).rejects.toMatchObject({ code: "forbidden", message: "not yours" });
    expect(board.status).toBe("failed");
    expect(board.error?.code).toBe("forbidden");
    expect(failures).toEqual(["forbidden"]);
    await client.channel("board:other").ready();
    await expect(board.ready()).rejects.toMatchObject({ code: "forbidden" });
    server.grant = () => undefined;
    await board.ready();
    expect(board.get("cards", "a")?.title).toBe("A");
  });

  it("with an impossible name fails and says what a name is", async () => {
    const { client } = setup();
    await expect(client.channel("nonsense").ready()).rejects.toMatchObject({
      code: "invalid_channel",
      message: expect.stringContaining("namespace"),
    });
  });

  it("is the same object for the same name while it is in use", async () => {
    const { client, board } = await ready();
    expect(client.channel(BOARD)).toBe(board);
    expect(client.channel("board:other")).not.toBe(board);
  });

  it("knows its cursor", async () => {
    const { server, board } = await ready();
    expect(board.cursor).toEqual({ epoch: 2048, seq: 3, tag: 100 });
    server.put(BOARD, "cards", "c", {});
    await arrive();
    expect(board.cursor?.seq).toBe(4);
  });
});

/** What native clients read too: `sdk-native/src/endpoint.rs`. */
const urls = JSON.parse(readFileSync(`${import.meta.dirname}/../../tests/fixtures/urls.json`, "utf8")) as {
  taken: [url: string, socket: string][];
  refused: [url: string, says: string][];
};

describe("a URL", () => {
  it.each(urls.taken)("%s leads to %s", async (url, socket) => {
    const { server, board } = setup({ url });
    await board.ready();
    expect(server.sockets[0]?.url).toBe(socket);
  });

  it.each(urls.refused)("%s is refused at once: %s", (url, says) => {
    const refused = expect.objectContaining({ code: "invalid_url", message: expect.stringContaining(says) });
    expect(() => socketUrl(url)).toThrow(refused);
    if (url.includes("://")) expect(() => createClient({ url })).toThrow(refused);
  });

  it("without a port has none", async () => {
    const { server, board } = setup({ url: "ws://[::1]:80" });
    await board.ready();
    expect(server.sockets[0]?.url).toBe("ws://[::1]/v1/ws");
  });

  it("that is relative needs a page", async () => {
    const { board, server } = setup({ url: "/" });
    await expect(board.ready()).rejects.toMatchObject({ code: "invalid_url" });
    vi.stubGlobal("location", { href: "https://page.test/app/index.html" });
    onTestFinished(() => void vi.unstubAllGlobals());
    await board.ready();
    expect(server.sockets[0]?.url).toBe("wss://page.test/v1/ws");
    for (const url of ["/?token=t", "/#top", "?a"]) expect(() => socketUrl(url)).toThrow(/no query and no fragment/);
  });
});

describe("the platform", () => {
  it("without a WebSocket is told what to do", async () => {
    vi.stubGlobal("WebSocket", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const client = createClient({ url: "http://tide.test", transports: ["websocket"] });
    onTestFinished(() => client.close());
    await expect(client.channel(BOARD).ready()).rejects.toMatchObject({
      code: "websocket_missing",
      message: expect.stringContaining("npm install ws"),
    });
  });

  it("may give hints, which are let go when the client is closed", async () => {
    const target = new EventTarget();
    const added = vi.fn(target.addEventListener.bind(target));
    const removed = vi.fn(target.removeEventListener.bind(target));
    vi.stubGlobal("addEventListener", added);
    vi.stubGlobal("removeEventListener", removed);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { server, client, board } = await ready({ retry: { baseMs: 60_000, maxMs: 60_000 } });
    expect(added.mock.calls.map(([type]) => type)).toEqual(["online", "offline", "pagehide", "pageshow"]);
    server.cut();
    expect(client.connection.state).toBe("waiting");
    target.dispatchEvent(new Event("online"));
    await until(() => board.status === "live");
    client.close();
    expect(removed.mock.calls).toEqual(added.mock.calls.map(([type, listener]) => [type, listener]));
  });
});

describe("a page in the back-forward cache", () => {
  const moved = (type: string, persisted: boolean): Event => Object.assign(new Event(type), { persisted });

  it("has no socket, tries nothing, and is back at once when it is shown again", async () => {
    const target = new EventTarget();
    vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
    vi.stubGlobal("removeEventListener", target.removeEventListener.bind(target));
    onTestFinished(() => void vi.unstubAllGlobals());
    const { server, client, board } = await ready({ retry: fast });
    target.dispatchEvent(moved("pagehide", false));
    expect(client.connection.state).toBe("connected");
    target.dispatchEvent(moved("pagehide", true));
    expect(client.connection).toMatchObject({ state: "waiting", reason: { code: "suspended", retryable: true } });
    target.dispatchEvent(new Event("online"));
    expect(server.sockets).toHaveLength(1);
    target.dispatchEvent(moved("pageshow", true));
    await until(() => board.status === "live");
    expect(server.sockets).toHaveLength(2);
  });
});

describe("a paused channel", () => {
  it("keeps its view and its changes, and catches up afterwards", async () => {
    const { server, board } = await ready();
    const stale = vi.fn();
    board.on("stale", stale);
    board.pause();
    expect(board.status).toBe("stale");
    expect(stale).toHaveBeenCalledOnce();
    await until(() => server.received.some((frame) => frame.unsubscribe));
    server.put(BOARD, "cards", "theirs", { title: "T", position: 1 });
    const mine = board.put("cards", "mine", { title: "M", column: "x", position: 1 });
    expect(board.get("cards", "mine")?.title).toBe("M");
    expect(server.received.some((frame) => frame.push)).toBe(false);
    board.resume();
    await mine.committed;
    await until(() => board.status === "live");
    expect(board.get("cards", "theirs")?.title).toBe("T");
  });

  it("may be paused before it is open", async () => {
    const { server, board } = setup();
    board.pause();
    const waiting = board.ready();
    await until(() => server.received.some((frame) => frame.hello));
    board.resume();
    await waiting;
  });
});

describe("a server that is not there yet", () => {
  it("keeps the application's changes until it is", async () => {
    const server = new FakeServer();
    server.put(BOARD, "cards", "a", { title: "A", position: 1 });
    let down = true;
    class Flaky extends server.WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        if (down) queueMicrotask(() => this.drop(1006, ""));
      }
    }
    const { board } = setup({ retry: fast, WebSocket: Flaky }, server);
    const mutation = board.put("cards", "new", { title: "offline", column: "x", position: 1 });
    await until(() => board.get("cards", "new") !== undefined);
    down = false;
    await mutation.committed;
    expect(board.ids("cards")).toEqual(["a", "new"]);
  });
});
