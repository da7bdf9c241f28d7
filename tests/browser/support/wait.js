// Waiting for conditions. Nothing in these tests sleeps for a guessed time.

/** The longest that anything here may take on a busy machine: what is lost last is repaired with a heartbeat, every 25 s. */
export const PATIENCE_MS = 90_000;

/**
 * How long what should be immediate may take: pages are open, and only a message is on its way. Shorter than any repair,
 * of which the first is a resubscribe after 10 s without progress, so that a lost wake-up does not pass for one that came.
 */
export const SOON_MS = 8_000;

const LOOK_MS = 25;

/**
 * Looks until `look` returns something truthy, and returns that.
 * On timeout, the error says what was waited for and what was seen last.
 */
export async function until(what, look, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  let seen;
  do {
    try {
      const found = await look();
      if (found) return found;
      seen = found;
    } catch (error) {
      seen = error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  } while (Date.now() < deadline);
  const state = seen instanceof Error ? seen.stack : JSON.stringify(seen);
  throw new Error(`waited ${patience} ms for: ${what}\nlast seen: ${state}`);
}

/** The same for what nothing has to repair. */
export const soon = (what, look) => until(what, look, SOON_MS);
