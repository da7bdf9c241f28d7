/** What a component suspends on that has no view yet: one wait per channel, whoever waits. */

import type { Channel } from "./channel.js";
import type { Client } from "./client.js";
import type { TidewireError } from "./errors.js";
import { SHOWN_MS } from "./readiness.js";
import { LINGER_MS } from "./uses.js";

/** Under way, or failed: then the error is shown for a while before the next render waits again. */
type Wait = { readonly over: Promise<void> } | { readonly error: TidewireError; readonly at: number };

const waits = new WeakMap<Channel<object>, Wait>();

/** Whether there is a view, the latest or an older one. */
export function hasView<S extends object, P>({ status }: Channel<S, P>): boolean {
  return status === "live" || status === "stale";
}

/** What to throw while a channel has no view: a promise of the next time to look, or why there will be none. */
export function waitFor(client: Client, channel: Channel<object>): Promise<void> | TidewireError {
  const { state, reason } = client.connection;
  if (state === "closed" && reason) return reason;
  if (channel.status === "closed") return channel.error as TidewireError;
  const known = waits.get(channel);
  if (known && "over" in known) return known.over;
  if (known && Date.now() - known.at < SHOWN_MS) return known.error;
  // It failed while it was in use: nobody asked to try again yet.
  if (!known && channel.error) return failed(channel, channel.error);
  return begin(channel);
}

/**
 * A render that React drops is never told so. Each wait therefore uses the channel for five seconds
 * only; then whoever is still there renders, and begins another one.
 */
function begin(channel: Channel<object>): Promise<void> {
  const release = channel.retain();
  const over = new Promise<void>((resolve) => {
    const end = (error?: TidewireError): void => {
      clearTimeout(timer);
      release();
      if (waits.get(channel) === own) {
        waits.delete(channel);
        if (error) failed(channel, error);
      }
      resolve();
    };
    const timer = setTimeout(end, LINGER_MS);
    channel.ready().then(() => end(), end);
  });
  const own: Wait = { over };
  waits.set(channel, own);
  return over;
}

function failed(channel: Channel<object>, error: TidewireError): TidewireError {
  waits.set(channel, { error, at: Date.now() });
  return error;
}
