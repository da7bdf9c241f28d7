// Every state of `client.connection`, with what explains it, as docs/errors.md has it.

import { readFileSync } from "node:fs";

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ClientOptions, Connection } from "../dist/index.js";
import { TidewireError } from "../dist/index.js";
import type { Setup } from "./support/board.js";
import { BOARD, boardServer, ready, setup } from "./support/board.js";
import { arrive, until } from "./support/until.js";

/** Rows of the table: what stands in a state's column. */
const guide = readFileSync(`${import.meta.dirname}/../../docs/errors.md`, "utf8");
const table = guide.slice(guide.indexOf("## Connection states"), guide.indexOf("## Warnings"));
const rows = new Map(
  [...table.matchAll(/^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|$/gm)].map(([, state, transport, , reason]) => [
    state as string,
    { transport: transport as string, reason: reason as string },
  ]),
);

const slow = { baseMs: 60_000, maxMs: 60_000 };
const seen = new Map<string, Set<string>>();

/** Holds what the connection says against the table. */
function expectState({ client }: Setup, state: Connection["state"], code?: string, transport = state === "connecting"): void {
  const { reason, since, ...rest } = client.connection;
  const hasTransport = transport || state === "connected" || state === "draining";
  const online = state === "connected" || state === "draining";
  expect({ ...rest, code: reason?.code }).toEqual({ state, code, online, transport: hasTransport ? "websocket" : undefined });
  expect(Object.isFrozen(client.connection)).toBe(true);
  expect(Math.abs(Date.now() - since)).toBeLessThan(10_000);
  const row = rows.get(state);
  expect(row?.transport).toContain(hasTransport ? "the one" : "–");
  if (code === undefined) expect(row?.reason).toContain("–");
  else if (state !== "connecting") expect(row?.reason).toContain(`\`${code}\``);
  if (reason) {
    expect(reason).toBeInstanceOf(TidewireError);
    expect(reason.message).not.toBe("");
    if (state === "waiting") expect(reason.retryable).toBe(true);
  }
  seen.set(state, (seen.get(state) ?? new Set()).add(code ?? "–"));
}

const states = (made: Setup, state: Connection["state"]): Promise<void> =>
  until(() => made.client.connection.state === state, state);

/** A client that wants its channel, and is not asked to wait for it. */
function opened(options: Partial<ClientOptions> = {}, server = boardServer()): Setup {
  const made = setup({ retry: slow, ...options }, server);
  void made.board.ready();
  return made;
}

let target: EventTarget;

beforeEach(() => {
  target = new EventTarget();
  vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
  vi.stubGlobal("removeEventListener", target.removeEventListener.bind(target));
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("idle", () => {
  it("before the first use, since it was made", () => {
    const before = Date.now();
    const { client } = setup();
    expect(client.connection).toEqual({ state: "idle", online: false, transport: undefined, since: expect.any(Number), reason: undefined });
    expect(client.connection.since).toBeGreaterThanOrEqual(before);
  });

  it("after everything was let go", async () => {
    const made = setup();
    const stop = made.board.on("status", () => {});
    await until(() => made.board.status === "live");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    stop();
    vi.advanceTimersByTime(5100);
    expectState(made, "idle");
  });
});

describe("connecting", () => {
  it("without a transport while the wasm loads, then with one", async () => {
    const made = opened();
    expectState(made, "connecting", undefined, false);
    await until(() => made.client.connection.transport !== undefined || made.client.connection.state === "connected");
    if (made.client.connection.state === "connecting") expectState(made, "connecting");
    await states(made, "connected");
  });

  it("says why the link before ended", async () => {
    const made = await ready({ retry: slow });
    made.server.cut();
    await states(made, "waiting");
    made.client.connect();
    expectState(made, "connecting", "network");
    await states(made, "connected");
  });
});

it("connected: nothing to explain, also after a failure", async () => {
  const made = await ready({ retry: { baseMs: 1, maxMs: 2 } });
  expectState(made, "connected");
  const first = made.client.connection;
  made.server.cut();
  await until(() => made.board.status === "live" && made.client.connection !== first);
  expectState(made, "connected");
});

describe("waiting", () => {
  it("because the link broke", async () => {
    const made = await ready({ retry: slow });
    made.server.cut();
    expectState(made, "waiting", "network");
  });

  it("because nothing was heard", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] });
    const made = opened();
    for (let turn = 0; turn < 50 && made.board.status !== "live"; turn++) await arrive();
    expectState(made, "connected");
    vi.spyOn(made.server, "handle").mockImplementation(() => {});
    const heard: (string | undefined)[] = [];
    made.client.on("connection", ({ state, reason }) => heard.push(`${state} ${reason?.code}`));
    for (let seconds = 0; seconds < 120 && heard.length === 0; seconds++) {
      vi.advanceTimersByTime(1000);
      await arrive();
    }
    // The first attempt after a link that was fine is made at once.
    expect(heard[0]).toMatch(/^(waiting|connecting) heartbeat_timeout$/);
    seen.set("waiting", (seen.get("waiting") ?? new Set()).add("heartbeat_timeout"));
  });

  it("because the page is in the back-forward cache", async () => {
    const made = await ready({ retry: slow });
    target.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: true }));
    expectState(made, "waiting", "suspended");
  });

  it("because there was no token just now", async () => {
    const made = opened({
      token: () => {
        throw new Error("the token service is down");
      },
    });
    await states(made, "waiting");
    expectState(made, "waiting", "token");
    expect(made.client.connection.reason?.message).toBe("the token service is down");
  });

  it("because the server said so", async () => {
    const server = boardServer();
    server.admit = () => ({ code: 4001, detail: "full" });
    const made = opened({}, server);
    await states(made, "waiting");
    expectState(made, "waiting", "overloaded");
  });

  it("because a frame was none", async () => {
    const made = await ready({ retry: slow });
    made.server.sockets[0]?.onmessage?.({ data: new Uint8Array([1, 2, 3]).buffer });
    expectState(made, "waiting", "malformed");
  });
});

it("draining: the server asked to move, and says why", async () => {
  const made = await ready({ retry: slow });
  made.server.sockets[0]?.deliver([{ goaway: { byMs: 600_000, windowMs: 600_000, reason: "new version" } }]);
  await states(made, "draining");
  expectState(made, "draining", "going_away");
  expect(made.client.connection.reason?.message).toBe("new version");
  made.server.merge(BOARD, "cards", "a", { title: "still arrives" });
  await until(() => made.board.get("cards", "a")?.title === "still arrives");
  expect(made.client.connection.state).toBe("draining");
});

describe("closed", () => {
  it("by the application", async () => {
    const made = await ready();
    made.client.close();
    expectState(made, "closed", "closed");
  });

  it("because the token is not accepted", async () => {
    const server = boardServer();
    server.admit = () => ({ code: 2001, detail: "who are you" });
    const made = opened({}, server);
    await states(made, "closed");
    expectState(made, "closed", "unauthenticated");
  });

  it("because there will be no token", async () => {
    const made = opened({
      token: () => {
        throw new TidewireError("token", "please sign in");
      },
    });
    await states(made, "closed");
    expectState(made, "closed", "token");
  });

  it("because all attempts failed", async () => {
    class Broken {
      constructor() {
        throw new Error("no way");
      }
    }
    const made = opened({ retry: { baseMs: 1, maxMs: 2, attempts: 2 }, WebSocket: Broken });
    await states(made, "closed");
    expectState(made, "closed", "gave_up");
  });

  it("because server and client speak different versions", async () => {
    const server = boardServer();
    server.admit = () => ({ code: 1003, detail: "update" });
    const made = opened({}, server);
    await states(made, "closed");
    expectState(made, "closed", "unsupported_version");
  });

  it("because the URL leads nowhere without a page", async () => {
    const made = opened({ url: "/here" });
    await states(made, "closed");
    expectState(made, "closed", "invalid_url");
  });

  it("because the platform has no WebSocket", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const made = opened({ WebSocket: undefined, transports: ["websocket"] });
    await states(made, "closed");
    expectState(made, "closed", "websocket_missing");
  });
});

it("the table has every state, and nothing that was not seen", () => {
  expect([...rows.keys()].sort()).toEqual(["closed", "connected", "connecting", "draining", "idle", "waiting"]);
  // Where the wasm cannot be loaded or stops: tests/load.test.ts.
  const elsewhere = ["wasm_load_failed", "internal", "client", "connect", "close"];
  for (const [state, { reason }] of rows) {
    const codes = [...reason.matchAll(/`(\w+)`/g)].map(([, code]) => code as string);
    const missing = codes.filter((code) => !seen.get(state)?.has(code) && !elsewhere.includes(code) && code !== "retryable");
    expect([state, missing]).toEqual([state, []]);
  }
});
