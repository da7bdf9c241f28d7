/** Refuses what a call was not meant to be given, before anything happens. */

import { TidewireError } from "./errors.js";

/** The names that a type has: one that is missing, or too many, does not compile. */
export type Names<T> = { readonly [K in keyof Required<T>]: 1 };

/** Options that are none of `names`, or no object at all: a typing error would be silent otherwise. */
export function checkOptions(of: string, options: unknown, names: object): void {
  if (typeof options !== "object" || options === null) {
    throw new TidewireError("invalid", `${of} takes its options as an object`);
  }
  for (const name of Object.keys(options)) checkKnown(`an option of ${of}`, name, names);
}

/** A name that is none of `names`. `what`: `an event of a channel`. */
export function checkKnown(what: string, name: unknown, names: object): void {
  if (typeof name === "string" && Object.hasOwn(names, name)) return;
  throw new TidewireError("invalid", `${typeof name === "string" ? JSON.stringify(name) : typeof name} is not ${what}: there are ${Object.keys(names).join(", ")}`);
}

/** What is called back. */
export function checkFunction(what: string, given: unknown): void {
  if (typeof given !== "function") throw new TidewireError("invalid", `${what} must be a function, not ${typeof given}`);
}
