// Waiting for conditions. Nothing in these tests sleeps for a guessed time.

/** The longest that anything but a command may take on a busy machine. */
export const PATIENCE_MS = 60_000;

const LOOK_MS = 25;

/** Looks until `look` returns something truthy, and returns that; `stuck` says what was seen last. */
export async function until(what, look, stuck = () => "", patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited ${patience} ms for: ${what}\n${stuck()}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
