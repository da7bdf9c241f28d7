// The two forms that frames travel in (docs/protocol.md §11, and §15 for what differs over HTTP). Inside, frames have
// camel-cased fields, ids and values as buffers, numbers as numbers and the digest as a BigInt.

import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";

const schema = protobuf.loadSync(fileURLToPath(new URL("../../sdk-core/proto/tidewire.proto", import.meta.url)));
const Frames = schema.lookupType("tidewire.v1.Frames");
const Item = schema.lookupType("tidewire.v1.Item");

export const proto = {
  name: "proto",
  subprotocol: "tidewire.v1.proto",
  mediaType: "application/vnd.tidewire.v1+proto",
  encode: (...frames) => Frames.encode(Frames.fromObject({ frames })).finish(),
  join: (messages) => Buffer.concat(messages),
  fromEvent: (_type, data) => Buffer.from(data, "base64"),
  sizeOf: (item) => Item.encode(Item.fromObject(item)).finish().length,
  decode: (bytes) =>
    Frames.decode(bytes).frames.map((raw) => {
      if (!raw.kind) throw new Error("a frame of an unknown type");
      const frame = raw.$type.toObject(raw, { longs: Number, defaults: true, oneofs: true })[raw.kind];
      // The one number past 2^53.
      if (raw.kind === "snapshotEnd") frame.digest = BigInt(raw.snapshotEnd.digest.toString());
      return { kind: raw.kind, frame };
    }),
};

const IDS = new Set(["client", "session", "author", "proof"]);
// Made a text again by JSON.stringify, which is the text that was sent if that is how its writer made it.
const VALUES = new Set(["value", "data", "args"]);
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const mapped = (object, name, part) => Object.fromEntries(Object.entries(object).map(([key, inner]) => [name(key), part(inner, key)]));

function read(part, key) {
  if (VALUES.has(key)) return Buffer.from(JSON.stringify(part));
  if (IDS.has(key)) return Buffer.from(part, "hex");
  if (key === "digest") return BigInt(`0x${part}`);
  if (Array.isArray(part)) return part.map((item) => read(item));
  return typeof part === "object" ? mapped(part, camel, read) : part;
}

function write(part, key) {
  if (VALUES.has(key)) return JSON.parse(part.toString());
  if (Buffer.isBuffer(part)) return part.toString("hex");
  if (Array.isArray(part)) return part.map((item) => write(item));
  return typeof part === "object" ? mapped(part, snake, write) : part;
}

export const json = {
  name: "json",
  subprotocol: "tidewire.v1.json",
  mediaType: "application/vnd.tidewire.v1+json",
  encode: (...frames) => JSON.stringify(frames.flatMap(Object.entries).map(([kind, fields]) => ({ type: snake(kind), ...write(fields) }))),
  join: (messages) => `[${messages.map((message) => message.slice(1, -1)).join(",")}]`,
  fromEvent: (type, data) => (type === "b64" ? Buffer.from(data, "base64").toString() : data),
  sizeOf: (item) => Buffer.byteLength(JSON.stringify(write(item))),
  decode: (text) => JSON.parse(text).map(({ type, ...fields }) => ({ kind: camel(type), frame: read(fields) })),
};
