/** A precondition did not hold: what the application may do about it. */

import { reportUncaught, TidewireError } from "./errors.js";
import type { Conflict, MutateOptions, Writer } from "./types.js";

/** How many conflicts of one mutation the application is asked about; the next one rejects it. */
export const CONFLICTS_MAX = 16;

/** What to make instead of the refused change. */
export interface Retry<S extends object> {
  readonly build: (tx: Writer<S, void>) => void;
  readonly options: MutateOptions<S>;
}

/** Asks the application; `undefined`: it lets the change go. What it throws is reported, and counts as that. */
export function askForRetry<S extends object>(
  conflict: Omit<Conflict<S>, "retry">,
  ask: (conflict: Conflict<S>) => void,
): Retry<S> | undefined {
  let asking = true;
  let again: Retry<S> | undefined;
  const retry: Conflict<S>["retry"] = (build, options = {}) => {
    if (!asking) throw new TidewireError("invalid", "the conflict is over: call retry before onConflict returns");
    again = { build, options };
  };
  try {
    ask({ ...conflict, retry });
  } catch (thrown) {
    reportUncaught(thrown);
  }
  asking = false;
  return again;
}
