/**
 * tidewire/debug: what travels between a client and its server, for people who want to see it.
 *
 * A `FrameTap` makes the WebSocket class and the `fetch` that `createClient` takes; while somebody watches, it hands out
 * every message. `loadDecoder` reads them with the published schema: it shares no code with the core. It
 * needs the package `protobufjs` (its minimal part), but no `eval`.
 */

import { tapFetch } from "./debug-requests.js";
import { TidewireError } from "./errors.js";
import type { Schema, SchemaField } from "./proto/schema.js";
import type { Transport } from "./types.js";

/** A WebSocket class, of the browser or of the package `ws`. */
export type SocketClass = new (url: string, protocols: string[]) => object;

/**
 * One message, or a socket that opened or closed. `at` is in milliseconds since the epoch. A stream counts as a socket, and so
 * do polls of which one follows the other; their `code` is 0.
 */
export type Tapped =
  | { type: "message"; at: number; socket: number; direction: "up" | "down"; bytes: Uint8Array }
  | { type: "open"; at: number; socket: number; transport: Transport }
  | { type: "close"; at: number; socket: number; code: number; clean: boolean };

/** What a tap uses of a socket. */
interface Socket {
  send(data: unknown): void;
  addEventListener(name: "open" | "message" | "close", listener: (event: never) => void): void;
}

/** Sees every message of a client, while somebody watches. Costs next to nothing while nobody does. */
export class FrameTap {
  /** To pass to `createClient`. Made when it is first asked for. */
  get WebSocket(): SocketClass {
    return (this.#class ??= this.#derive());
  }

  /** To pass to `createClient`: what goes over SSE and long-poll. Errors: none, but those of the platform's. */
  get fetch(): typeof fetch {
    return (this.#requests ??= tapFetch({
      isWatched: () => this.#watchers.size > 0,
      tell: (tapped) => this.#tell(tapped),
      next: () => ++this.#sockets,
    }));
  }

  #base: SocketClass | undefined;
  #class: SocketClass | undefined;
  #requests: typeof fetch | undefined;
  #sockets = 0;
  #watchers = new Set<(tapped: Tapped) => void>();

  /** Without an argument, the platform's own class is tapped. */
  constructor(base?: SocketClass) {
    this.#base = base;
  }

  /** Watches from now on. Returns how to stop that. A watcher must not throw. */
  watch(watcher: (tapped: Tapped) => void): () => void {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }

  #tell(tapped: Tapped): void {
    for (const watcher of [...this.#watchers]) watcher(tapped);
  }

  #derive(): SocketClass {
    const base = this.#base ?? (globalThis as { WebSocket?: SocketClass }).WebSocket;
    if (!base) throw new TidewireError("websocket_missing", 'this platform has no WebSocket: new FrameTap(WebSocket) takes the one of "ws"');
    const next = (): number => ++this.#sockets;
    const isWatched = (): boolean => this.#watchers.size > 0;
    const tell = (tapped: Tapped): void => this.#tell(tapped);
    return class extends (base as new (url: string, protocols: string[]) => Socket) {
      readonly #number: number = next();

      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        const socket = this.#number;
        this.addEventListener("open", () => tell({ type: "open", at: Date.now(), socket, transport: "websocket" }));
        this.addEventListener("message", ({ data }: { data: unknown }) => {
          if (!isWatched()) return;
          const bytes = bytesOf(data);
          if (bytes) tell({ type: "message", at: Date.now(), socket, direction: "down", bytes });
        });
        this.addEventListener("close", ({ code, wasClean }: { code: number; wasClean: boolean }) => {
          tell({ type: "close", at: Date.now(), socket, code, clean: wasClean });
        });
      }

      override send(data: unknown): void {
        if (isWatched()) {
          const bytes = bytesOf(data)?.slice();
          if (bytes) tell({ type: "message", at: Date.now(), socket: this.#number, direction: "up", bytes });
        }
        super.send(data);
      }
    };
  }
}

function bytesOf(data: unknown): Uint8Array | undefined {
  if (data instanceof Uint8Array) return data;
  return data instanceof ArrayBuffer ? new Uint8Array(data) : undefined;
}

/** A decoded frame. Numbers above 2^53 lose their last digits; bytes stay bytes. */
export interface Frame {
  /** As in the schema: `patch`, `snapshot_begin`, … */
  kind: string;
  /** Which channel it is about, if any. */
  channel: string | undefined;
  /** Where in the channel's log: of a patch, its last entry. */
  seq: number | undefined;
  /** Which of its author's mutations: of a push the first one, of an ack the last one. */
  n: number | undefined;
  /** Every field that was there, in camelCase. */
  body: Record<string, unknown>;
}

/**
 * Loads what reads messages. The result takes one message and gives its frames.
 *
 * Errors: without `protobufjs`, or for bytes that are no message of this protocol.
 */
export async function loadDecoder(): Promise<(bytes: Uint8Array) => Frame[]> {
  const [{ default: schema }, reading] = await Promise.all([import("./proto/schema.js"), loadReader()]);
  return (bytes) => {
    const { frames = [] } = read(schema, "Frames", reading(bytes)) as { frames?: Record<string, unknown>[] };
    return frames.map(frameOf);
  };
}

/** What is used of protobufjs. */
interface Reader {
  pos: number;
  len: number;
  uint32(): number;
  uint64(): Wide;
  sint64(): Wide;
  fixed32(): number;
  fixed64(): Wide;
  string(): string;
  bytes(): Uint8Array;
  bool(): boolean;
  skipType(wireType: number): void;
}

type Wide = number | { toNumber(): number };

async function loadReader(): Promise<(bytes: Uint8Array) => Reader> {
  let loaded: { Reader?: unknown; default?: { Reader?: unknown } };
  try {
    loaded = await import("protobufjs/minimal.js");
  } catch (cause) {
    throw new TidewireError("protobuf_missing", "tidewire/debug reads frames with protobufjs: npm install protobufjs", { cause });
  }
  const { Reader } = (loaded.default ?? loaded) as { Reader: { create(bytes: Uint8Array): Reader } };
  return (bytes) => Reader.create(bytes);
}

function read(schema: Schema, type: string, reader: Reader, end: number = reader.len): Record<string, unknown> {
  const fields = schema[type];
  if (!fields) throw new TidewireError("internal", `the schema has no ${type}`);
  const message: Record<string, unknown> = {};
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = fields[tag >>> 3];
    if (!field) {
      reader.skipType(tag & 7);
      continue;
    }
    const value = readValue(schema, field, reader);
    if (field.repeated) ((message[field.name] ??= []) as unknown[]).push(value);
    else message[field.name] = value;
  }
  return message;
}

function readValue(schema: Schema, { type }: SchemaField, reader: Reader): unknown {
  switch (type) {
    case "uint32":
    case "fixed32":
    case "string":
    case "bool":
      return reader[type]();
    case "bytes":
      return reader.bytes().slice();
    case "uint64":
    case "sint64":
    case "fixed64": {
      const wide = reader[type]();
      return typeof wide === "number" ? wide : wide.toNumber();
    }
    default: {
      const length = reader.uint32();
      return read(schema, type, reader, reader.pos + length);
    }
  }
}

function frameOf(frame: Record<string, unknown>): Frame {
  const [name = "unknown", value] = Object.entries(frame)[0] ?? [];
  const body = (value ?? {}) as Record<string, unknown>;
  const cursor = (body["cursor"] ?? body["head"] ?? body["have"]) as { seq?: unknown } | undefined;
  return {
    kind: name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    channel: text(body["channel"]),
    seq: number(body["to"] ?? body["seq"] ?? cursor?.seq),
    n: number(body["firstN"] ?? body["through"] ?? body["n"]),
    body,
  };
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
const number = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);
