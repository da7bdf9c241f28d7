// Transports without a WebSocket: against the real program, and against whatever else may answer in its place.

import { join } from "node:path";

import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";

import type { Tapped } from "../dist/debug.js";
import { FrameTap, loadDecoder } from "../dist/debug.js";
import type { Answers } from "../dist/http.js";
import { Http } from "../dist/http.js";
import type { Channel, Client, ClientOptions, Transport } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import type { TestServer } from "../dist/testing.js";
import { startServer } from "../dist/testing.js";
import { until } from "./support/until.js";

interface Board {
  cards: { title: string };
}

let server: TestServer;
beforeAll(async () => {
  const dir = process.env["TEST_BIN_DIR"];
  if (!dir) throw new Error("TEST_BIN_DIR must say where tidewire-server is: run `cargo xtask test npm`");
  server = await startServer({ program: join(dir, "tidewire-server") });
  return () => server.stop();
});

let boards = 0;

interface Visit {
  client: Client;
  board: Channel<Board>;
  /** Every transport that the client was connected over. */
  connected: (Transport | undefined)[];
}

function visit(name: string, board: string, options: Partial<ClientOptions> = {}): Visit {
  const client = createClient({ url: server.url, token: server.token(name), retry: { baseMs: 5, maxMs: 20 }, ...options });
  onTestFinished(() => client.close());
  const connected: Visit["connected"] = [];
  client.on("connection", ({ state, transport }) => {
    if (state === "connected") connected.push(transport);
  });
  return { client, board: client.channel<Board>(board), connected };
}

/** Two people work on a board of their own. */
async function works(options: Partial<ClientOptions>, transport: Transport): Promise<void> {
  const name = `board:http-${boards++}`;
  const [ana, bob] = [visit("ana", name, options), visit("bob", name, options)];
  await Promise.all([ana.board.ready(), bob.board.ready()]);
  expect([ana.client.connection.transport, bob.client.connection.transport]).toEqual([transport, transport]);
  for (let n = 0; n < 20; n++) {
    const [writer, reader] = n % 2 ? [ana, bob] : [bob, ana];
    await writer.board.put("cards", `card-${n}`, { title: `${n}` }).committed;
    await until(() => reader.board.get("cards", `card-${n}`)?.title === `${n}`, "the other one's card");
  }
  ana.board.presence.set({ at: 1 });
  await until(() => bob.board.presence.peers.length === 1, "ana's presence");
  ana.client.close();
  // Her last words say so; a machine that is too busy to bring them within 2 s leaves it to the grace of 10 s.
  await until(() => bob.board.presence.peers.length === 0, "that ana has left", 15_000);
}

/** A socket that does what is said when it is constructed. */
function socket(act: (socket: { onclose?: (event: object) => void }) => void): NonNullable<ClientOptions["WebSocket"]> {
  return class {
    binaryType = "";
    constructor() {
      queueMicrotask(() => act(this as object));
    }
    send(): void {}
    close(): void {}
  };
}

const refused = socket((own) => own.onclose?.({ code: 1006, reason: "" }));
const silent = socket(() => {});

describe("each transport", () => {
  it.for(["sse", "long-poll"] as const)("%s carries everything", (transport) => works({ transports: [transport] }, transport));
});

describe("the chain", () => {
  it("begins with a stream where the platform has no WebSocket", async () => {
    vi.stubGlobal("WebSocket", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    await works({}, "sse");
  });

  it("goes on with a stream when WebSocket is refused", () => works({ WebSocket: refused }, "sse"));

  it("is joined by a stream when a WebSocket shows nothing", () => works({ WebSocket: silent }, "sse"));

  it("ends with polls where a response cannot be read while it comes", async () => {
    vi.stubGlobal("Response", class {});
    onTestFinished(() => void vi.unstubAllGlobals());
    await works({ WebSocket: refused }, "long-poll");
  });

  it("polls without being held where other tabs have all places", async () => {
    const preferred: (string | null)[] = [];
    const { fetch } = globalThis;
    vi.stubGlobal("navigator", { locks: { request: async (_: string, __: object, use: (lock: null) => unknown) => use(null) } });
    vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
      if (url.endsWith("/v1/poll")) preferred.push(new Headers(init.headers).get("prefer"));
      return fetch(url, init);
    });
    onTestFinished(() => void vi.unstubAllGlobals());
    const { board, connected } = visit("ana", "board:places", { WebSocket: refused });
    await board.put("cards", "a", { title: "x" }).committed;
    expect(connected).toEqual(["long-poll"]);
    expect(new Set(preferred)).toEqual(new Set(["wait=0"]));
  });

  it("says that it is blocked where somebody else answers", async () => {
    const portal = async (): Promise<Response> => new Response("<html>sign in", { headers: { "content-type": "text/html" } });
    const { fetch } = globalThis;
    vi.stubGlobal("fetch", portal);
    onTestFinished(() => void vi.unstubAllGlobals());
    const { client, board } = visit("ana", "board:portal", { WebSocket: refused });
    const ready = board.ready();
    await until(() => client.connection.reason?.code === "blocked", "that it is blocked");
    expect(client.connection.state).toBe("waiting");
    vi.stubGlobal("fetch", fetch);
    await ready;
    expect(client.connection.transport).toBe("sse");
  });
});

describe("a tap", () => {
  it.for(["sse", "long-poll"] as const)("shows every frame that goes over %s, and links", async (transport) => {
    const tap = new FrameTap();
    const seen: Tapped[] = [];
    const stop = tap.watch((each) => seen.push(each));
    const name = `board:tapped-${transport}`;
    const { client, board } = visit("ana", name, { transports: [transport], fetch: tap.fetch });
    const bob = visit("bob", name, { transports: [transport] });
    await board.ready();
    await board.put("cards", "a", { title: "ü😀" }).committed;
    await bob.board.put("cards", "b", { title: "x" }).committed;
    await until(() => board.get("cards", "b") !== undefined, "bob's card");
    const decode = await loadDecoder();
    const said = seen.flatMap((each) =>
      each.type === "message" ? decode(each.bytes).map(({ kind }) => `${each.direction} ${kind}`) : [each.type],
    );
    for (const one of ["up hello", "down welcome", "up subscribe", "down snapshot_begin", "up push", "down ack", "down patch"]) {
      expect(said).toContain(one);
    }
    expect(seen.find(({ type }) => type === "open")).toMatchObject({ socket: 1, transport });
    expect(new Set(seen.map(({ socket }) => socket))).toEqual(new Set([1]));
    client.close();
    await until(() => seen.at(-1)?.type === "close", "that it is closed");
    expect(seen.at(-1)).toMatchObject({ socket: 1, code: 0, clean: false });
    const length = seen.length;
    stop();
    await works({ transports: [transport], fetch: tap.fetch }, transport);
    expect(seen.length).toBe(length);
  });
});

describe("one request", () => {
  type Response_ = [conn: number, request: number, status: number, retryAfterMs: number, unheld: boolean, body: Uint8Array, detail: string];

  /** What a core is told of a request that `fetch` answers so. */
  async function told(answer: () => Promise<Response>, path = "/v1/push"): Promise<{ response: Response_; asked: [string, RequestInit] }> {
    const fetched = vi.fn<(url: string, init: RequestInit) => Promise<Response>>(answer);
    vi.stubGlobal("fetch", fetched);
    onTestFinished(() => void vi.unstubAllGlobals());
    const response = await new Promise<Response_>((resolve) => {
      const core: Answers = { chunk: vi.fn(), stream_closed: vi.fn(), probed: vi.fn(), response: (...all) => resolve(all) };
      new Http("wss://tide.test/app/v1/ws", undefined, (tell) => tell(core)).request(1, 2, path, new Uint8Array([7]), false);
    });
    return { response, asked: fetched.mock.calls[0] as [string, RequestInit] };
  }

  const proto = { "content-type": "application/vnd.tidewire.v1+proto" };

  it("is a POST to the base path", async () => {
    const { response, asked } = await told(async () => new Response(new Uint8Array([1, 2]), { headers: proto }));
    expect(asked[0]).toBe("https://tide.test/app/v1/push");
    expect(asked[1]).toMatchObject({ method: "POST", body: new Uint8Array([7]), credentials: "same-origin", cache: "no-store" });
    expect(response).toEqual([1, 2, 200, -1, false, new Uint8Array([1, 2]), ""]);
  });

  it("tells a refusal with its time", async () => {
    const date = new Date(Date.now() + 60_000).toUTCString();
    for (const [text, least, most] of [["3", 3000, 3000], [date, 50_000, 60_000], ["soon", -1, -1]] as const) {
      const { response } = await told(async () => new Response("", { status: 503, headers: { ...proto, "retry-after": text } }));
      expect(response[2]).toBe(503);
      expect(response[3]).toBeGreaterThanOrEqual(least);
      expect(response[3]).toBeLessThanOrEqual(most);
    }
  });

  it.for<[string, () => Promise<Response>, string]>([
    ["HTML", async () => new Response("<html>", { headers: { "content-type": "text/html" } }), "text/html"],
    ["a body without an end", async () => new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(1 << 18)) }), { headers: proto }), "too large"],
    ["a redirect", async () => Object.defineProperty(new Response(), "type", { value: "opaqueredirect" }), "leads elsewhere"],
    ["nobody", async () => Promise.reject(new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") })), "ECONNREFUSED"],
  ])("is not answered by %s", async ([, answer, detail]) => {
    for (const path of ["/v1/push", "/v1/poll", "/v1/sse"]) {
      const { response } = await told(answer, path);
      expect(response[2]).toBe(0);
      expect(response[6]).toContain(detail);
    }
  });

  it("says which URL to try where the server's only redirects, and where to look when a page's origin may be foreign", async () => {
    const redirect = async (): Promise<Response> => Object.defineProperty(new Response(), "type", { value: "opaqueredirect" });
    const fails = async (): Promise<Response> => Promise.reject(new TypeError("Failed to fetch"));
    const detailOf = async (url: string, answer: () => Promise<Response>, origin?: string): Promise<string> => {
      vi.stubGlobal("fetch", answer);
      vi.stubGlobal("location", origin && { origin });
      onTestFinished(() => void vi.unstubAllGlobals());
      return new Promise((resolve) => {
        const response: Answers["response"] = (...all) => resolve(all[6]);
        const core: Answers = { chunk: vi.fn(), stream_closed: vi.fn(), probed: vi.fn(), response };
        new Http(url, undefined, (tell) => tell(core)).request(1, 2, "/v1/push", new Uint8Array([7]), false);
      });
    };
    expect(await detailOf("ws://tide.test/app/v1/ws", redirect)).toContain("https://tide.test/app");
    expect(await detailOf("wss://tide.test/v1/ws", redirect)).not.toContain("https://");
    expect(await detailOf("wss://tide.test/v1/ws", fails, "https://page.test")).toMatch(/allow_origin.*https:\/\/page\.test/);
    expect(await detailOf("wss://tide.test/v1/ws", fails, "https://tide.test")).toBe("Failed to fetch");
    expect(await detailOf("wss://tide.test/v1/ws", fails)).toBe("Failed to fetch");
  });

  it("is not told once nobody wants it, and ends", async () => {
    const asked = new Map<number, { signal: AbortSignal; answer: (response: Response) => void }>();
    vi.stubGlobal("fetch", (_: string, { body, signal }: { body: Uint8Array; signal: AbortSignal }) => {
      return new Promise<Response>((answer, fail) => {
        signal.addEventListener("abort", () => fail(new Error("aborted")));
        asked.set(body[0] as number, { signal, answer });
      });
    });
    onTestFinished(() => void vi.unstubAllGlobals());
    const tell = vi.fn();
    const http = new Http("ws://tide.test/v1/ws", undefined, tell);
    const [post, farewell, poll, other] = [1, 2, 3, 4];
    for (const [conn, request, last] of [[1, post, false], [1, farewell, true], [1, poll, false], [2, other, false]] as const) {
      http.request(conn, request, "/v1/push", new Uint8Array([request]), last);
    }
    await until(() => asked.size === 4, "four requests");
    const ended = (): number[] => [...asked].filter(([, { signal }]) => signal.aborted).map(([request]) => request);
    http.abort(other);
    http.close(1);
    // The server has to have the last words before it misses the others.
    expect(ended()).toEqual([other]);
    asked.get(farewell)?.answer(new Response(null, { headers: proto }));
    await until(() => ended().length === 3, "the end of the others");
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended()).toEqual([post, poll, other]);
    expect(tell).toHaveBeenCalledOnce();
  });
});
