// The golden frames, read without any of the Rust code: `protobufjs` with the published schema, and
// `JSON.parse`. What Rust makes of them: sdk-core/tests/golden.

import { readFileSync } from "node:fs";

import protobuf from "protobufjs";
import { describe, expect, test } from "vitest";

interface Golden {
  name: string;
  from: "client" | "server";
  proto: string;
  json: string;
  frames: Json[];
}

type Json = Record<string, any>;

const { root } = protobuf.parse(
  readFileSync(`${import.meta.dirname}/../dist/proto/tidewire.proto`, "utf8"),
  { keepCase: true },
);
const Frames = root.lookupType("tidewire.v1.Frames");
const golden = readFileSync(`${import.meta.dirname}/../../tests/fixtures/golden/0.1.0.jsonl`, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Golden);

const IDS = new Set([
  "author",
  "check",
  "client",
  "continues",
  "expect_author",
  "proof",
  "session",
  "trace",
]);
const VALUES = new Set(["value", "data", "args"]);

/** Fields that came after the first messages: left out while they are zero. */
const LATER = new Set(
  `Hello.session Hello.continues Hello.poll Hello.expect_author Hello.schema Subscribe.proof Item.trace
  Item.check Item.schema Call.timeout_ms Publish.to Field.fill Record.ttl_ms Record.expires_ms Known.check
  Known.low Mid.trace Mid.check Welcome.home Welcome.fallback_poll_ms Welcome.tenant Resume.proof
  SnapshotBegin.proof Reply.server_ms Goaway.alone`.split(/\s+/),
);

/** A decoded message as the neutral form has it: absent fields left out, all others written. */
function neutral(type: protobuf.Type, message: Json): Json {
  const object: Json = {};
  for (const field of type.fieldsArray) {
    const given: unknown = message[field.name];
    const present = Object.hasOwn(message, field.name);
    const optional =
      field.partOf !== null ||
      field.resolvedType !== null ||
      VALUES.has(field.name) ||
      LATER.has(`${type.name}.${field.name}`);
    if (!present && optional && !field.repeated) continue;
    object[field.name] = field.repeated
      ? (given as unknown[]).map((item) => neutralField(field, item))
      : neutralField(field, given);
  }
  return object;
}

function neutralField(field: protobuf.Field, given: any): unknown {
  field.resolve();
  if (field.resolvedType instanceof protobuf.Type) return neutral(field.resolvedType, given);
  if (VALUES.has(field.name)) return Buffer.from(given).toString("utf8");
  if (IDS.has(field.name)) return Buffer.from(given).toString("hex");
  if (field.type === "fixed64") return BigInt(given.toString()).toString(16).padStart(16, "0");
  // A Long, which is what 64 bits come as.
  return typeof given === "object" ? Number(given) : given;
}

function decode(bytes: Uint8Array): Json[] {
  const frames = Frames.decode(bytes) as unknown as { frames: Json[] };
  const Frame = root.lookupType("tidewire.v1.Frame");
  return frames.frames.map((frame) => {
    const type = Frame.oneofs.kind!.oneof.find((name) => Object.hasOwn(frame, name))!;
    const field = Frame.fields[type]!;
    field.resolve();
    return { type, ...neutral(field.resolvedType as protobuf.Type, frame[type]) };
  });
}

/** The neutral form with each value parsed, as `JSON.parse` leaves it: 2^53 + 1 and 1e400 are lost there. */
function parsed(part: any, key = ""): unknown {
  if (VALUES.has(key)) return JSON.parse(part as string);
  if (Array.isArray(part)) return part.map((item) => parsed(item));
  if (typeof part !== "object" || part === null) return part;
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, parsed(value, name)]));
}

describe("golden frames", () => {
  test.each(golden)("$name", ({ proto, json, frames }) => {
    expect(decode(Buffer.from(proto, "hex"))).toEqual(frames);
    expect(JSON.parse(json)).toEqual(parsed(frames));
  });

  test("they are there, of both directions, and every value is JSON", () => {
    expect(new Set(golden.map(({ from }) => from))).toEqual(new Set(["client", "server"]));
    expect(() => golden.map(({ frames }) => parsed(frames))).not.toThrow();
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(({} as Json).polluted).toBeUndefined();
  });
});
