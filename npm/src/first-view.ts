/** What a component that has no view yet suspends on: one attempt per channel, whoever waits for it. */

import type { Channel } from "./channel.js";
import type { Client } from "./client.js";
import type { TidewireError } from "./errors.js";
import { LINGER_MS } from "./uses.js";

/** How long a failure is shown before the next render tries again: React renders more than once before a boundary has the error. */
const SHOWN_MS = 1000;

type Attempt = { readonly over: Promise<void> } | { readonly error: TidewireError; readonly at: number };

const attempts = new WeakMap<Channel<object>, Attempt>();

/** Whether there is a view, the latest or an older one. */
export function hasView<S extends object, P>({ status }: Channel<S, P>): boolean {
  return status === "live" || status === "stale";
}

/** What to throw while a channel has no view: the attempt's promise, or why there will be none. */
export function attempt(client: Client, channel: Channel<object>): Promise<void> | TidewireError {
  const { state, reason } = client.connection;
  if (state === "closed" && reason) return reason;
  if (channel.status === "closed") return channel.error as TidewireError;
  const known = attempts.get(channel);
  if (known && "over" in known) return known.over;
  if (known && Date.now() - known.at < SHOWN_MS) return known.error;
  // It failed while it was in use: nobody asked for another attempt yet.
  if (!known && channel.error) return failed(channel, channel.error);
  return begin(channel);
}

/**
 * A render that React drops is never told so. The attempt therefore uses the channel for five seconds
 * only; then whoever still waits renders, and begins another one.
 */
function begin(channel: Channel<object>): Promise<void> {
  const release = channel.retain();
  const over = new Promise<void>((resolve) => {
    const end = (error?: TidewireError): void => {
      clearTimeout(timer);
      release();
      if (attempts.get(channel) === own) {
        attempts.delete(channel);
        if (error) failed(channel, error);
      }
      resolve();
    };
    const timer = setTimeout(end, LINGER_MS);
    channel.ready().then(() => end(), end);
  });
  const own: Attempt = { over };
  attempts.set(channel, own);
  return over;
}

function failed(channel: Channel<object>, error: TidewireError): TidewireError {
  attempts.set(channel, { error, at: Date.now() });
  return error;
}
