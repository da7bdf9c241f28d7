// Set-ups for tests whose clock stands still.

import { vi } from "vitest";

import type { ClientOptions } from "../../dist/index.js";
import type { Setup } from "./board.js";
import { setup } from "./board.js";
import type { FakeServer } from "./server.js";

export { setup };

/** A first view, in a time that only moves when it is told to. */
export async function ready(options: Partial<ClientOptions> = {}): Promise<Setup> {
  const made = setup(options);
  let there = false;
  const view = made.board.ready().then(() => (there = true));
  while (!there) {
    // The wasm is compiled outside of the clock that stands still.
    await new Promise((resolve) => setImmediate(resolve));
    await vi.advanceTimersByTimeAsync(1);
  }
  await view;
  return made;
}

export async function presenceOf(): Promise<Setup> {
  const made = await ready();
  made.board.presence.set({ x: 1, y: 2 });
  return made;
}

/** Lets time pass in which the server does nothing but to show that it is there. */
export async function pass(server: FakeServer, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 25_000) {
    await vi.advanceTimersByTimeAsync(Math.min(left, 25_000));
    server.beat();
  }
}
