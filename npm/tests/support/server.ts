// A server in this process that speaks the published schema through a WebSocket look-alike. It is
// written from docs/protocol.md and shares no code with the core, so the two check each other.

import { readFileSync } from "node:fs";

import protobuf from "protobufjs";

const schema = protobuf.parse(
  readFileSync(`${import.meta.dirname}/../../dist/proto/tidewire.proto`, "utf8"),
).root;
const Frames = schema.lookupType("tidewire.v1.Frames");

type Json = Record<string, any>;

const EPOCH = 2048;
const tagOf = (seq: number): number => seq * 31 + 7;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

function encode(frames: Json[]): ArrayBuffer {
  const bytes = Frames.encode(Frames.fromObject({ frames })).finish();
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

function decode(bytes: Uint8Array): Json[] {
  const message = Frames.decode(bytes);
  return Frames.toObject(message, { longs: Number, arrays: true }).frames as Json[];
}

interface Entry {
  seq: number;
  ops: Json[];
  mids: Json[];
}

interface FakeChannel {
  records: Map<string, Map<string, Map<string, string>>>;
  log: Entry[];
  last: Map<string, number>;
  subscribers: Set<FakeSocket>;
  peers: Map<FakeSocket, { peer: number; principal: string; data: Buffer }>;
}

/** What a mutation is refused with. */
export interface Verdict {
  code: number;
  detail: string;
}

export class FakeServer {
  /** Every socket that was ever constructed. */
  readonly sockets: FakeSocket[] = [];
  /** Every frame that arrived, in order. */
  readonly received: Json[] = [];
  /** How many messages they came in. */
  messages = 0;
  /** While `true`, pushes are kept unanswered. */
  holding = false;
  /** Decides about each mutation. */
  judge: (changes: Json[], item: Json) => Verdict | undefined = () => undefined;
  /** Decides about each token. */
  admit: (token: string) => Verdict | undefined = () => undefined;
  /** Decides about each subscribe. */
  grant: (channel: string) => Verdict | undefined = () => undefined;

  /** While `true`, links end before they are open. */
  refusing = false;

  #channels = new Map<string, FakeChannel>();
  #held: (() => void)[] = [];
  #peers = 0;

  /** To pass to `createClient`. */
  readonly WebSocket: new (url: string, protocols: string[]) => FakeSocket;

  constructor() {
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(server, url, protocols);
      }
    };
  }

  get open(): FakeSocket[] {
    return this.sockets.filter((socket) => socket.readyState < 2);
  }

  frames(kind: string): Json[] {
    return this.received.filter((frame) => frame[kind]).map((frame) => frame[kind]);
  }

  /** Writes to a channel as somebody else would. */
  write(name: string, ...ops: Json[]): void {
    this.#append(name, ops, []);
  }

  put(name: string, collection: string, id: string, fields: Json): void {
    this.write(name, { put: { collection, id, fields: toFields(fields) } });
  }

  merge(name: string, collection: string, id: string, fields: Json): void {
    this.write(name, { merge: { collection, id, fields: toFields(fields), unset: [] } });
  }

  remove(name: string, collection: string, id: string): void {
    this.write(name, { del: { collection, id } });
  }

  /** Answers what was held. */
  release(): void {
    this.holding = false;
    for (const answer of this.#held.splice(0)) answer();
  }

  /** What a server says every 25 seconds, lest a client takes the link for dead. */
  beat(): void {
    for (const socket of this.open) socket.deliver([{ heartbeat: { serverMs: Date.now(), heads: [] } }]);
  }

  /** From now on no link opens. */
  refuseLinks(): void {
    this.refusing = true;
  }

  /** Breaks every link. */
  cut(): void {
    for (const socket of this.open) socket.drop(1006, "");
  }

  /** Says something about somebody else on a channel. */
  announce(name: string, peer: number, principal: string, data: unknown): void {
    this.announceText(name, peer, principal, data === undefined ? undefined : JSON.stringify(data));
  }

  /** The same, with the JSON text itself. */
  announceText(name: string, peer: number, principal: string, text: string | undefined): void {
    const gone = text === undefined ? {} : { data: Buffer.from(text) };
    for (const socket of this.#channel(name).subscribers) {
      socket.deliver([{ presence: { channel: name, full: false, peers: [{ peer, principal, ...gone }] } }]);
    }
  }

  record(name: string, collection: string, id: string): Json | undefined {
    const fields = this.#channel(name).records.get(collection)?.get(id);
    return fields && Object.fromEntries([...fields].map(([field, value]) => [field, JSON.parse(value)]));
  }

  handle(socket: FakeSocket, frame: Json): void {
    this.received.push(frame);
    if (frame.hello) this.#hello(socket, frame.hello);
    else if (frame.subscribe) this.#subscribe(socket, frame.subscribe);
    else if (frame.unsubscribe) this.#channel(frame.unsubscribe.channel).subscribers.delete(socket);
    else if (frame.push) {
      const answer = (): void => this.#push(socket, frame.push);
      if (this.holding) this.#held.push(answer);
      else answer();
    } else if (frame.ping) socket.deliver([{ pong: { t: frame.ping.t } }]);
    else if (frame.presenceSet) this.#presence(socket, frame.presenceSet);
  }

  gone(socket: FakeSocket): void {
    for (const channel of this.#channels.values()) channel.subscribers.delete(socket);
  }

  #channel(name: string): FakeChannel {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = { records: new Map(), log: [{ seq: 1, ops: [], mids: [] }], last: new Map(), subscribers: new Set(), peers: new Map() };
      this.#channels.set(name, channel);
    }
    return channel;
  }

  #hello(socket: FakeSocket, hello: Json): void {
    const refused = this.admit(hello.token ?? "");
    if (refused) {
      socket.deliver([{ error: { ...refused, fatal: true } }]);
      queueMicrotask(() => socket.drop(1008, ""));
      return;
    }
    socket.client = Buffer.from(hello.client).toString("hex");
    socket.principal = (hello.token ?? "").replace(/^dev:|#.*/g, "");
    socket.deliver([
      {
        welcome: {
          session: Buffer.alloc(16, 1),
          principal: socket.principal,
          author: Buffer.from(socket.client, "hex"),
          serverMs: Date.now(),
          expiresMs: 0,
          heartbeatMs: 25_000,
          limits: {
            frameUpBytes: 131_072,
            frameDownBytes: 1_048_576,
            mutationBytes: 65_536,
            pushItems: 256,
            pushBytes: 65_536,
            subscriptions: 1000,
            presenceBytes: 4096,
            recordBytes: 262_144,
          },
        },
      },
    ]);
  }

  #subscribe(socket: FakeSocket, { channel: name, have }: Json): void {
    const refused = this.grant(name);
    if (refused) {
      socket.deliver([{ error: { ...refused, fatal: false, channel: name } }]);
      return;
    }
    const channel = this.#channel(name);
    channel.subscribers.add(socket);
    const head = channel.log.at(-1)?.seq ?? 1;
    const cursor = (seq: number): Json => ({ epoch: EPOCH, seq, tag: tagOf(seq) });
    const known = { last: channel.last.get(socket.client) ?? 0, rejected: [] };
    if (have && have.epoch === EPOCH && have.tag === tagOf(have.seq)) {
      socket.deliver([
        { resume: { channel: name, from: have, head: cursor(head), known } },
        ...channel.log.filter((entry) => entry.seq > have.seq).map((entry) => patch(name, entry)),
      ]);
    } else {
      const records = [...channel.records].flatMap(([collection, byId]) =>
        [...byId].map(([id, fields]) => ({
          collection,
          id,
          fields: [...fields].map(([field, value]) => ({ name: field, value: Buffer.from(value) })),
        })),
      );
      socket.deliver([
        { snapshotBegin: { channel: name, cursor: cursor(head), known, head: cursor(head) } },
        { snapshotPart: { channel: name, records } },
        { snapshotEnd: { channel: name, records: records.length, digest: digest(channel.records) } },
      ]);
    }
    socket.deliver([{ presence: { channel: name, full: true, peers: [...channel.peers.values()] } }]);
  }

  #push(socket: FakeSocket, push: Json): void {
    const channel = this.#channel(push.channel);
    let n = push.firstN as number;
    for (const item of push.items as Json[]) {
      if (n > (channel.last.get(socket.client) ?? 0)) {
        channel.last.set(socket.client, n);
        const refused = item.noop ? undefined : (this.judge(item.changes, item) ?? missing(channel, item.changes));
        const mid = { author: Buffer.from(socket.client, "hex"), n, ...(refused ?? {}) };
        this.#append(push.channel, refused ? [] : item.changes.map((change: Json) => toOp(channel, change)), [mid]);
      }
      n += 1;
    }
    socket.deliver([{ ack: { channel: push.channel, through: n - 1, seq: channel.log.at(-1)?.seq ?? 1 } }]);
  }

  #append(name: string, ops: Json[], mids: Json[]): void {
    const channel = this.#channel(name);
    const entry = { seq: (channel.log.at(-1)?.seq ?? 0) + 1, ops, mids };
    channel.log.push(entry);
    for (const op of ops) apply(channel, op);
    for (const socket of channel.subscribers) socket.deliver([patch(name, entry)]);
  }

  #presence(socket: FakeSocket, { channel: name, data }: Json): void {
    const channel = this.#channel(name);
    const peer = channel.peers.get(socket)?.peer ?? ++this.#peers;
    if (data) channel.peers.set(socket, { peer, principal: socket.principal, data: Buffer.from(data) });
    else channel.peers.delete(socket);
    for (const other of channel.subscribers) {
      if (other === socket) continue;
      const said = data ? { data: Buffer.from(data) } : {};
      other.deliver([{ presence: { channel: name, full: false, peers: [{ peer, principal: socket.principal, ...said }] } }]);
    }
  }
}

/** What the driver uses of a WebSocket. */
export class FakeSocket {
  binaryType = "blob";
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  client = "";
  principal = "";
  readonly server: FakeServer;
  readonly url: string;
  readonly protocols: string[];

  constructor(server: FakeServer, url: string, protocols: string[]) {
    this.server = server;
    this.url = url;
    this.protocols = protocols;
    server.sockets.push(this);
    queueMicrotask(() => {
      if (this.readyState !== 0) return;
      if (server.refusing) {
        this.drop(1006, "");
        return;
      }
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(data: Uint8Array): void {
    if (this.readyState !== 1) throw new Error("not open");
    this.server.messages += 1;
    const frames = decode(data.slice());
    queueMicrotask(() => {
      for (const frame of frames) if (this.readyState === 1) this.server.handle(this, frame);
    });
  }

  close(code?: number): void {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999)) throw new Error("InvalidAccessError");
    this.readyState = 3;
    this.server.gone(this);
  }

  deliver(frames: Json[]): void {
    const message = encode(frames);
    queueMicrotask(() => {
      if (this.readyState === 1) this.onmessage?.({ data: message });
    });
  }

  drop(code: number, reason: string): void {
    this.readyState = 3;
    this.server.gone(this);
    this.onclose?.({ code, reason });
  }
}

function patch(name: string, { seq, ops, mids }: Entry): Json {
  return {
    patch: {
      channel: name,
      epoch: EPOCH,
      from: seq - 1,
      fromTag: tagOf(seq - 1),
      to: seq,
      toTag: tagOf(seq),
      ms: Date.now(),
      ops,
      mids,
    },
  };
}

function toFields(fields: Json): Json[] {
  return Object.entries(fields).map(([name, value]) => ({ name, value: Buffer.from(JSON.stringify(value)) }));
}

function target(change: Json): { collection: string; id: string } {
  return change.set ?? change.put ?? change.unset ?? change.del ?? change.inc;
}

function missing(channel: FakeChannel, changes: Json[]): Verdict | undefined {
  const created = new Set<string>();
  for (const change of changes) {
    const { collection, id } = target(change);
    if (change.put) created.add(`${collection}/${id}`);
    else if (!change.del && !created.has(`${collection}/${id}`) && !channel.records.get(collection)?.has(id)) {
      return { code: 3002, detail: `no record ${collection}/${id}` };
    }
  }
  return undefined;
}

function toOp(channel: FakeChannel, change: Json): Json {
  if (change.put) return { put: change.put };
  if (change.del) return { del: change.del };
  if (change.set) return { merge: { ...change.set, unset: [] } };
  if (change.unset) return { merge: { ...change.unset, fields: [], unset: change.unset.fields } };
  const { collection, id, field, by } = change.inc;
  const before = JSON.parse(channel.records.get(collection)?.get(id)?.get(field) ?? "0") as number;
  return { merge: { collection, id, fields: toFields({ [field]: before + by }), unset: [] } };
}

function apply(channel: FakeChannel, op: Json): void {
  const { collection, id } = op.put ?? op.merge ?? op.del;
  let byId = channel.records.get(collection);
  if (!byId) channel.records.set(collection, (byId = new Map()));
  if (op.del) {
    byId.delete(id);
    return;
  }
  const fields = op.put ? new Map<string, string>() : (byId.get(id) ?? new Map<string, string>());
  for (const field of (op.put ?? op.merge).fields as Json[]) fields.set(field.name, text(field.value));
  for (const name of (op.merge?.unset ?? []) as string[]) fields.delete(name);
  byId.set(id, fields);
}

/** 64-bit FNV-1a of the canonical form, docs/protocol.md. */
function digest(records: FakeChannel["records"]): string {
  let hash = 0xcbf29ce484222325n;
  const part = (value: string): void => {
    for (const byte of [...Buffer.from(value), 0]) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  };
  const sorted = <V>(map: Map<string, V>): [string, V][] =>
    [...map].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const [collection, byId] of sorted(records)) {
    for (const [id, fields] of sorted(byId)) {
      part(collection);
      part(id);
      for (const [name, value] of sorted(fields)) {
        part(name);
        part(value);
      }
    }
  }
  return hash.toString();
}
