// The table of hostile values and names, tests/fixtures/hostile.json, against the browser's build: what
// the wasm accepts and keeps, what the facade makes of it, and what JavaScript itself says of the texts.
// The same table is held against the core and the server in Rust.

import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { afterEach, describe, expect, onTestFinished, test } from "vitest";

import type { Channel } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import { Http } from "../dist/http.js";
import { loadCore } from "../dist/load.js";
import { wasmUrl } from "../dist/wasm-url.js";
import { FakeServer } from "./support/server.js";
import { until } from "./support/until.js";

interface Vector {
  what: string;
  kind: "value" | "field" | "id" | "collection" | "channel" | "presence";
  text: string;
  /** Empty: accepted. */
  code: string;
}

type Any = Record<string, any>;
type AnyChannel = Channel<Record<string, Record<string, unknown>>>;

const BOARD = "board:main";
const VECTORS: Vector[] = (
  JSON.parse(readFileSync(`${import.meta.dirname}/../../tests/fixtures/hostile.json`, "utf8")) as Any[]
).map(({ text, ...rest }) => ({
  ...(rest as Vector),
  text: typeof text === "string" ? text : text.map(([piece, times]: [string, number]) => piece.repeat(times)).join(""),
}));
const of = (...kinds: string[]): Vector[] => VECTORS.filter(({ kind }) => kinds.includes(kind));
const accepted = (...kinds: string[]): Vector[] => of(...kinds).filter(({ code }) => code === "");

const GLOBALS = [Object.prototype, Array.prototype, Function.prototype, String.prototype, Promise.prototype];
const PRISTINE = GLOBALS.map((prototype) => Reflect.ownKeys(prototype));

afterEach(() => {
  expect(GLOBALS.map((prototype) => Reflect.ownKeys(prototype))).toEqual(PRISTINE);
  expect(({} as Any).polluted).toBeUndefined();
});

/** Where the hostile text stands; everything else is harmless. */
function place({ kind, text }: Vector): { collection: string; id: string; field: string; value: string } {
  const at = (name: string, plain: string): string => (kind === name ? text : plain);
  return { collection: at("collection", "cards"), id: at("id", "c1"), field: at("field", "f"), value: at("value", "1") };
}

/** The code of what a call throws, if it does. */
function refusal(call: () => void): string {
  try {
    call();
    return "";
  } catch (thrown) {
    return Array.isArray(thrown) ? (thrown[0] as string) : ((thrown as Any).code as string);
  }
}

/** A core without the facade, on a channel that is live. */
async function bareCore(server: FakeServer): Promise<{ core: Any; channel: number }> {
  const Core = await loadCore(wasmUrl);
  const flush = (events: unknown[][]): void => {
    for (const [name] of events) if (name === "token") queueMicrotask(() => core.token("dev:ana"));
  };
  const http = new Http("ws://tide.test/v1/ws", undefined, () => {});
  const core = new Core("ws://tide.test", server.WebSocket, http, ["websocket"], flush, new Uint8Array(24), 1000, 30_000, -1);
  onTestFinished(() => core.free());
  core.connect();
  const channel = core.subscribe(BOARD);
  await until(() => core.status(channel)?.[0] === "live", "the first view");
  return { core, channel };
}

async function facade(server: FakeServer): Promise<AnyChannel> {
  const client = createClient({ url: "http://tide.test", token: "dev:ana", WebSocket: server.WebSocket });
  onTestFinished(() => client.close());
  const channel = client.channel(BOARD) as unknown as AnyChannel;
  await channel.ready();
  return channel;
}

/** What JavaScript and the rule about depth and white space say, without any of our code. */
function isValue(text: string): boolean {
  let deepest = 0;
  let depth = 0;
  for (const bracket of text.replaceAll(/"(?:[^"\\]|\\.)*"/gs, '""')) {
    if ("[{".includes(bracket)) deepest = Math.max(deepest, ++depth);
    else if ("]}".includes(bracket)) depth -= 1;
  }
  try {
    JSON.parse(text);
  } catch {
    return false;
  }
  return deepest <= 64 && !/^\s|\s$/.test(text);
}

/** A name of a record or field, by the words of docs/protocol.md. */
function isName(text: string): boolean {
  const bytes = Buffer.byteLength(text);
  return bytes >= 1 && bytes <= 128 && !/\p{Cc}/u.test(text);
}

const SEGMENT = /^[\w.-]{1,64}$/;

describe("the table", () => {
  test("says of each text what JavaScript says", () => {
    for (const { what, kind, text, code } of VECTORS) {
      if (code === "too_large") continue;
      const good =
        kind === "value" || kind === "presence"
          ? isValue(text)
          : kind === "collection"
            ? SEGMENT.test(text)
            : kind === "channel"
              ? Buffer.byteLength(text) <= 200 && text.includes(":") && text.split(":").every((part) => SEGMENT.test(part))
              : isName(text);
      expect(good, what).toBe(code === "");
    }
    expect(VECTORS.length).toBeGreaterThan(150);
  });
});

describe("the wasm", () => {
  test("accepts and refuses what the table says, and keeps every text", async () => {
    const { core, channel } = await bareCore(new FakeServer());
    for (const vector of of("value", "field", "id", "collection")) {
      const { collection, id, field, value } = place(vector);
      const code = refusal(() => core.mutate(channel, ["put", collection, id, "1", field, value]));
      expect(code, vector.what).toBe(vector.code);
      if (code !== "") continue;
      expect(core.record(channel, collection, id), vector.what).toBe(`{${quoted(field)}:${value}}`);
      expect(core.ids(channel, collection)).toContain(id);
    }
    for (const { what, text, code } of of("presence")) {
      expect(refusal(() => core.set_presence(channel, text)), what).toBe(code);
    }
    for (const { what, text, code } of of("channel")) {
      expect(refusal(() => core.subscribe(text)), what).toBe(code);
    }
  });

  test("sends the texts as they are", async () => {
    const server = new FakeServer();
    const { core, channel } = await bareCore(server);
    for (const vector of accepted("value", "field", "id", "collection")) {
      const { collection, id, field, value } = place(vector);
      core.mutate(channel, ["put", collection, id, "1", field, value]);
      let put: Any | undefined;
      await until(() => (put = server.frames("push").at(-1)?.items.at(-1)?.changes.at(-1)?.put) !== undefined);
      await until(() => !core.is_pending(channel, collection, id), vector.what);
      put = server.frames("push").at(-1)!.items.at(-1).changes.at(-1).put as Any;
      const [sent] = put.fields as Any[];
      expect([put.collection, put.id, sent!.name, Buffer.from(sent!.value).toString()], vector.what).toEqual([collection, id, field, value]);
    }
  });
});

describe("the facade", () => {
  test("shows what a server sends as JSON.parse reads it, whatever the names", async () => {
    const server = new FakeServer();
    const channel = await facade(server);
    for (const vector of accepted("value", "field", "id", "collection")) {
      const { collection, id, field, value } = place(vector);
      const fields = [{ name: field, value: Buffer.from(value) }];
      server.write(BOARD, { put: { collection, id, fields } });
      await until(() => channel.get(collection, id) !== undefined && sameText(channel, collection, id, field, value), vector.what);
      const record = channel.get(collection, id) as Any;
      expect(Object.keys(record), vector.what).toEqual([field]);
      expect(Object.getPrototypeOf(record)).toBe(Object.prototype);
      expect(Object.isFrozen(record)).toBe(true);
      if (field !== "id") expect(Object.getOwnPropertyDescriptor(record, "id")?.value).toBe(id);
      expect(channel.ids(collection)).toContain(id);
      expect(channel.select(collection, { filter: { [field]: record[field] } }).length).toBeGreaterThan(0);
      server.write(BOARD, { del: { collection, id } });
      await until(() => channel.get(collection, id) === undefined, vector.what);
    }
  });

  test("takes every value that JavaScript can say, and stores the text of JSON.stringify", async () => {
    const server = new FakeServer();
    const channel = await facade(server);
    for (const { what, text } of accepted("value")) {
      const value = JSON.parse(text) as unknown;
      if (typeof value === "number" && !Number.isFinite(value)) {
        expect(refusal(() => channel.put("cards", "c1", { f: value })), what).toBe("invalid");
        continue;
      }
      await channel.put("cards", "c1", { f: value }).committed;
      expect(channel.get("cards", "c1"), what).toEqual({ f: JSON.parse(JSON.stringify(value)) });
      const sent = server.frames("push").at(-1)!.items.at(-1).changes.at(-1).put.fields[0] as Any;
      expect(Buffer.from(sent.value).toString(), what).toBe(JSON.stringify(value));
    }
  });

  test("takes and refuses names as the table says", async () => {
    const server = new FakeServer();
    const channel = await facade(server);
    for (const vector of of("field", "id", "collection")) {
      const { collection, id, field } = place(vector);
      // A computed key is a property of its own, `__proto__` too.
      const code = refusal(() => channel.put(collection, id, { [field]: 1 }));
      expect(code, vector.what).toBe(vector.code);
      if (code === "") expect(Object.keys(channel.get(collection, id) as Any), vector.what).toEqual([field]);
    }
    for (const half of ["\ud800", "a\udc00b"]) {
      expect(refusal(() => channel.put("cards", half, {}))).toBe("invalid");
      expect(refusal(() => channel.put("cards", "x", { [half]: 1 }))).toBe("invalid");
      expect(refusal(() => channel.unset("cards", "x", half))).toBe("invalid");
      expect(refusal(() => channel.put(half, "x", {}))).toBe("invalid");
      expect(channel.get("cards", half)).toBeUndefined();
    }
  });

  test("passes on presence of any text, from principals of any name", async () => {
    const server = new FakeServer();
    const channel = await facade(server);
    let peer = 100;
    for (const { what, text } of accepted("presence")) {
      peer += 1;
      for (const principal of ["__proto__", "constructor"]) {
        server.announceText(BOARD, peer, principal, text);
        await until(() => channel.presence.peers.some((one) => one.peer === peer && one.principal === principal), what);
        const seen = channel.presence.peers.find((one) => one.peer === peer);
        expect(seen?.data, what).toEqual(JSON.parse(text));
      }
    }
  });

  test("filters and sorts by a record's own fields only", async () => {
    const server = new FakeServer();
    const channel = await facade(server);
    server.put(BOARD, "cards", "plain", { n: 1 });
    server.put(BOARD, "cards", "named", { n: 2, constructor: "b" });
    await until(() => channel.ids("cards").length === 2);
    const ids = (options: Any): string[] => channel.select("cards", options).map((record) => (record as Any).id as string);
    expect(ids({ filter: { constructor: undefined } })).toEqual(["plain"]);
    expect(ids({ filter: { constructor: Object } })).toEqual([]);
    expect(ids({ filter: { toString: undefined }, sortBy: "constructor" })).toEqual(["named", "plain"]);
  });

  test("refuses increments that no counter holds", async () => {
    const channel = (await facade(new FakeServer())) as unknown as Channel<{ cards: { n: number } }>;
    channel.put("cards", "c1", { n: 0 });
    for (const by of [2n ** 63n, -(2n ** 63n) - 1n, 2 ** 53, 0.5, Number.NaN]) {
      expect(refusal(() => channel.increment("cards", "c1", "n", by)), String(by)).toBe("invalid");
    }
    channel.increment("cards", "c1", "n", -(2n ** 63n));
    expect(channel.get("cards", "c1")).toEqual({ n: Number(-(2n ** 63n)) });
  });

  test("refuses values that do not end, without a trace", async () => {
    const channel = await facade(new FakeServer());
    let deep: unknown = 1;
    for (let n = 0; n < 100_000; n += 1) deep = [deep];
    const ring: Any = {};
    ring.self = ring;
    for (const value of [deep, ring, Number.POSITIVE_INFINITY, 2n ** 63n, [undefined], () => 1, Symbol("s")]) {
      expect(refusal(() => channel.put("cards", "c1", { f: value }))).toBe("invalid");
    }
    expect(channel.get("cards", "c1")).toBeUndefined();
  });

  test("names that nobody keeps are forgotten", async () => {
    const client = createClient({ url: "http://tide.test", token: "dev:ana", WebSocket: new FakeServer().WebSocket });
    onTestFinished(() => client.close());
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const heap = async (): Promise<number> => {
      // Finalizers run between turns, and what they let go of is collected after them.
      for (let turn = 0; turn < 3; turn += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        gc();
      }
      return process.memoryUsage().heapUsed;
    };
    const before = await heap();
    for (let n = 0; n < 200_000; n += 1) {
      client.channel(`board:${n}`);
      if (n % 10_000 === 0) await heap();
    }
    // Kept, they would take some 200 MB.
    expect((await heap()) - before).toBeLessThan(8 * 1024 * 1024);
  }, 60_000);
});

function quoted(name: string): string {
  // The core escapes what it must; JSON.stringify has short forms that do not occur in names.
  return JSON.stringify(name);
}

function sameText(channel: AnyChannel, collection: string, id: string, field: string, value: string): boolean {
  const record = channel.get(collection, id) as Any;
  return Object.hasOwn(record, field) && JSON.stringify(record[field]) === JSON.stringify(JSON.parse(value));
}
