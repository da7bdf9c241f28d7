/** What records are made of: their JSON text, and when two values are the same. */

import { TidewireError } from "./errors.js";
import { warnOfVanishing } from "./warn.js";

/** Deeper than any value may be, so that neither a ring nor a tower fills the stack. The core judges the rest. */
const DEPTH_MAX = 100;

/**
 * A value as JSON text. What would come back as something else is refused with the name of its field; a
 * property that is `undefined` is left out. `what` names the value: `field "due"`.
 */
export function toJson(what: string, value: unknown): string {
  return write(what, value, "", 0);
}

/** `path`: where in the value, as one would write it. */
function write(what: string, value: unknown, path: string, depth: number): string {
  switch (typeof value) {
    case "string":
    case "boolean":
      return JSON.stringify(value);
    case "number":
      if (Number.isFinite(value)) return JSON.stringify(value);
      return refuse(what, path, `${value}`, "use null or a string");
    case "bigint":
      if (isInteger(value)) return String(value);
      return refuse(what, path, `${value}`, "a bigint has 64 bits at most: use a string");
    case "object":
      break;
    case "undefined":
      return refuse(what, path, "undefined", path === "" ? "leave it out, or use unset" : "use null");
    default:
      return refuse(what, path, `a ${typeof value}`, "leave it out");
  }
  if (value === null) return "null";
  if (depth > DEPTH_MAX) throw new TidewireError("invalid", `${what} is nested too deep, or contains itself`);
  const parts: string[] = [];
  if (Array.isArray(value)) {
    // Not `map`, which passes over holes.
    for (let at = 0; at < value.length; at++) parts.push(write(what, value[at], `${path}[${at}]`, depth + 1));
    return `[${parts.join()}]`;
  }
  if (!isPlain(value)) return refuse(what, path, nameOf(value), "turn it into text, numbers, plain objects or arrays");
  for (const [key, inner] of Object.entries(value)) {
    const name = JSON.stringify(key);
    if (inner === undefined) warnOfVanishing(`${what} has undefined at ${path}[${name}]`);
    else parts.push(`${name}:${write(what, inner, `${path}[${name}]`, depth + 1)}`);
  }
  return `{${parts.join()}}`;
}

function refuse(what: string, path: string, found: string, cure: string): never {
  const place = path === "" ? what : `${what} at ${path}`;
  throw new TidewireError("invalid", `${place} is ${found}, which JSON cannot say: ${cure}`);
}

/** Whether a whole number fits into what the server counts with. */
export function isInteger(value: number | bigint): boolean {
  return typeof value === "bigint" ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value);
}

/** Made by `{}` or without a prototype, whichever window or worker it comes from. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "hasOwnProperty"));
}

/** `a Date`. */
function nameOf(value: object): string {
  const { constructor } = value as { constructor?: unknown };
  const name = typeof constructor === "function" ? constructor.name : "";
  return name === "" ? "an object with a prototype" : `a ${name}`;
}

/** Whether two values are the same as JSON: the order of keys and properties that are `undefined` make no difference. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [mine, theirs] = [a as Fields, b as Fields];
  const names = namesOf(mine);
  return names.length === namesOf(theirs).length && names.every((name) => Object.hasOwn(theirs, name) && same(mine[name], theirs[name]));
}

type Fields = Readonly<Record<string, unknown>>;

function namesOf(value: Fields): string[] {
  return Object.keys(value).filter((name) => value[name] !== undefined);
}
