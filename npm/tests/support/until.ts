import { vi } from "vitest";

/** Waits until a condition holds, at most 5 seconds unless told otherwise. */
export function until(condition: () => boolean, what = "the condition", timeout = 5000): Promise<void> {
  return vi.waitFor(
    () => {
      if (!condition()) throw new Error(`${what} did not come true`);
    },
    { timeout, interval: 5 },
  );
}

/** Lets everything that is on its way through microtasks arrive. */
export async function arrive(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
