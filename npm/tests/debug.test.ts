// What `tidewire/debug` sees is what travels: decoded by hand from the published schema, without the core.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { describe, expect, it, onTestFinished } from "vitest";

import { FrameTap, loadDecoder } from "../dist/debug.js";
import type { Frame, Tapped } from "../dist/debug.js";
import { createClient } from "../dist/index.js";
import { BOARD, boardServer } from "./support/board.js";
import type { Board } from "./support/board.js";
import { FakeSocket } from "./support/server.js";
import type { FakeServer } from "./support/server.js";
import { until } from "./support/until.js";

/** The look-alike with the events of a real socket. */
function eventful(server: FakeServer): new (url: string, protocols: string[]) => object {
  return class extends FakeSocket {
    #listeners: [string, (event: never) => void][] = [];

    constructor(url: string, protocols: string[]) {
      super(server, url, protocols);
      queueMicrotask(() => this.#dispatch("open", {}));
    }

    addEventListener(name: string, listener: (event: never) => void): void {
      this.#listeners.push([name, listener]);
    }

    override deliver(frames: Record<string, unknown>[]): void {
      const own = this.onmessage;
      this.onmessage = (event) => {
        this.#dispatch("message", event);
        own?.(event);
      };
      super.deliver(frames);
      queueMicrotask(() => (this.onmessage = own));
    }

    override drop(code: number, reason: string): void {
      this.#dispatch("close", { code, wasClean: false });
      super.drop(code, reason);
    }

    #dispatch(name: string, event: object): void {
      for (const [wanted, listener] of this.#listeners) if (wanted === name) listener(event as never);
    }
  };
}

function tapped(): { tap: FrameTap; seen: Tapped[]; stop: () => void; fake: FakeServer } {
  const fake = boardServer();
  const tap = new FrameTap(eventful(fake));
  const seen: Tapped[] = [];
  return { tap, seen, stop: tap.watch((each) => seen.push(each)), fake };
}

describe("tapping a client", () => {
  it("shows every frame both ways, with channel and numbers", async () => {
    const { tap, seen, fake } = tapped();
    const client = createClient({ url: "https://tide.test", token: "dev:ana", WebSocket: tap.WebSocket });
    onTestFinished(() => client.close());
    const board = client.channel<Board>(BOARD);
    await board.ready();
    await board.set("cards", "a", { title: "ü😀" }).committed;
    const decode = await loadDecoder();
    const frames = seen.flatMap((each): [string, Frame][] =>
      each.type === "message" ? decode(each.bytes).map((frame) => [each.direction, frame]) : [],
    );
    const kinds = frames.map(([direction, { kind }]) => `${direction} ${kind}`);
    for (const kind of ["up hello", "down welcome", "up subscribe", "down snapshot_begin", "up push", "down ack"]) {
      expect(kinds).toContain(kind);
    }
    const frame = (kind: string): Frame => frames.find(([, each]) => each.kind === kind)?.[1] as Frame;
    expect(frame("hello").body).toMatchObject({ version: 1, token: "dev:ana" });
    expect(frame("push")).toMatchObject({ channel: BOARD, n: 1 });
    expect(frame("patch").seq).toBe(frame("ack").seq);
    expect(frame("ack").n).toBe(1);
    const patch = frame("patch").body as { epoch: number; mids: { author: Uint8Array; n: number }[] };
    expect(patch.epoch).toBe(2048);
    expect(patch.mids).toEqual([{ author: frame("welcome").body["author"], n: 1 }]);
    const [change] = (frame("push").body["items"] as { changes: { set: { fields: { value: Uint8Array }[] } }[] }[])[0]!
      .changes;
    expect(new TextDecoder().decode(change!.set.fields[0]!.value)).toBe('"ü😀"');
    fake.cut();
    expect(seen.filter(({ type }) => type !== "message").map(({ type }) => type)).toEqual(["open", "close"]);
  });

  it("hands out nothing while nobody watches, and numbers sockets all the same", async () => {
    const { tap, seen, stop, fake } = tapped();
    stop();
    const client = createClient({
      url: "https://tide.test",
      token: "dev:ana",
      WebSocket: tap.WebSocket,
      retry: { baseMs: 1, maxMs: 2 },
    });
    onTestFinished(() => client.close());
    await client.channel<Board>(BOARD).ready();
    expect(seen).toEqual([]);
    tap.watch((each) => seen.push(each));
    fake.cut();
    await until(() => seen.some(({ socket, type }) => type === "message" && socket === 2));
    expect(tap.WebSocket).toBe(tap.WebSocket);
  });
});

describe("the decoder", () => {
  it("refuses what is no message and skips fields that it does not know", async () => {
    const decode = await loadDecoder();
    expect(() => decode(Uint8Array.of(0x0a, 0x05, 0x01))).toThrow();
    // A frame with a ping (t = 7) and an unknown field 15 of its own.
    const [frame] = decode(Uint8Array.of(0x0a, 0x06, 0x52, 0x02, 0x08, 0x07, 0x78, 0x01));
    expect(frame).toEqual({ kind: "ping", channel: undefined, seq: undefined, n: undefined, body: { t: 7 } });
    expect(decode(new Uint8Array())).toEqual([]);
  });

  it("reads numbers of four bytes: the home in a welcome", async () => {
    const decode = await loadDecoder();
    const [frame] = decode(Uint8Array.of(0x0a, 0x08, 0x82, 0x02, 0x05, 0x4d, 0x04, 0x03, 0x02, 0x01));
    expect(frame).toMatchObject({ kind: "welcome", body: { home: 0x01020304 } });
  });

  it("needs no eval, and importing it does nothing", async () => {
    const program = `
      const { FrameTap, loadDecoder } = await import(process.argv[1]);
      if (typeof FrameTap !== "function") throw new Error("no tap");
      const decode = await loadDecoder();
      console.log(JSON.stringify(decode(Uint8Array.of(0x0a, 0x04, 0x52, 0x02, 0x08, 0x07))));
    `;
    const entry = new URL("../dist/debug.js", import.meta.url).href;
    const args = ["--disallow-code-generation-from-strings", "--input-type=module", "-e", program, entry];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(JSON.parse(stdout)[0].kind).toBe("ping");
  });
});
