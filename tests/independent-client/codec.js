// The two forms that frames travel in (docs/protocol.md §11). Inside, frames have camel-cased fields, ids and
// values as buffers, numbers as numbers and the digest as a BigInt.

import { fileURLToPath } from "node:url";
import protobuf from "protobufjs";

const schema = protobuf.loadSync(fileURLToPath(new URL("../../sdk-core/proto/tidewire.proto", import.meta.url)));
const Frames = schema.lookupType("tidewire.v1.Frames");
const Item = schema.lookupType("tidewire.v1.Item");

export const proto = {
  subprotocol: "tidewire.v1.proto",
  encode: (frame) => Frames.encode(Frames.fromObject({ frames: [frame] })).finish(),
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
  subprotocol: "tidewire.v1.json",
  encode: (frame) => JSON.stringify(Object.entries(frame).map(([kind, fields]) => ({ type: snake(kind), ...write(fields) }))),
  sizeOf: (item) => Buffer.byteLength(JSON.stringify(write(item))),
  decode: (text) => JSON.parse(text).map(({ type, ...fields }) => ({ kind: camel(type), frame: read(fields) })),
};
