// While nothing happens, nothing is done: timers that are set, callbacks, frames and lookups are counted over ten quiet
// minutes in each state that a client can rest in. A loop that spins would count thousands.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { pass, presenceOf, ready, setup } from "./support/quiet.js";
import type { Setup } from "./support/board.js";
import { BOARD, card } from "./support/board.js";

const MINUTES = 10;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

interface Counts {
  timers: number;
  microtasks: number;
  frames: number;
  sockets: number;
  told: number;
}

/** What is done in ten minutes of a state. */
async function quietly({ server, client, board }: Setup): Promise<Counts> {
  const counts = { timers: 0, microtasks: 0, told: 0 };
  const { setTimeout: set, queueMicrotask: queue } = globalThis;
  vi.spyOn(globalThis, "setTimeout").mockImplementation(((...args: Parameters<typeof set>) => {
    counts.timers += 1;
    return set(...args);
  }) as typeof set);
  vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => {
    counts.microtasks += 1;
    queue(task);
  });
  client.on("connection", () => (counts.told += 1));
  if (board.status !== "closed") board.on("status", () => (counts.told += 1));
  const [frames, sockets] = [server.received.length, server.sockets.length];
  await pass(server, MINUTES * 60_000);
  return { ...counts, frames: server.received.length - frames, sockets: server.sockets.length - sockets };
}

/** One heartbeat in some seconds, and for each a timer or two. */
const HEARTBEATS: Counts = { timers: 300, microtasks: 600, frames: 100, sockets: 0, told: 4 };
/** Nothing at all. */
const NOTHING: Counts = { timers: 0, microtasks: 0, frames: 0, sockets: 0, told: 0 };
/** Attempts to connect, 30 seconds apart at most and half of that on average. */
const ATTEMPTS: Counts = { timers: 400, microtasks: 800, frames: 0, sockets: 120, told: 250 };

const states: [string, Counts, () => Promise<Setup>][] = [
  ["a live channel", HEARTBEATS, () => ready()],
  [
    "a hundred live channels that are watched",
    // As many again for the first of their subscriptions; not as many for each heartbeat.
    { ...HEARTBEATS, timers: 600, microtasks: 1200, frames: 300 },
    async () => {
      const made = await ready();
      for (let n = 0; n < 100; n += 1) {
        const channel = made.client.channel<{ cards: { title: string } }>(`board:${n}`);
        channel.watch("cards", () => {});
        await channel.ready();
      }
      return made;
    },
  ],
  ["a paused channel", HEARTBEATS, async () => {
    const made = await ready();
    made.board.pause();
    return made;
  }],
  ["presence that was set", HEARTBEATS, presenceOf],
  ["a channel that was refused", HEARTBEATS, async () => {
    const made = setup();
    made.server.grant = () => ({ code: 2004, detail: "no" });
    await made.board.ready().catch(() => {});
    return made;
  }],
  ["a mutation that the server does not answer", { ...HEARTBEATS, timers: 900, microtasks: 2000, frames: 600, told: 300 }, async () => {
    const made = await ready();
    made.server.holding = true;
    made.board.put("cards", "x", card());
    return made;
  }],
  ["a server that does not answer", ATTEMPTS, async () => {
    const made = await ready({ retry: { baseMs: 1000, maxMs: 30_000 } });
    made.server.refuseLinks();
    made.server.cut();
    made.board.put("cards", "x", card());
    return made;
  }],
  ["a connection that gave up", NOTHING, async () => {
    const made = setup();
    made.server.admit = () => ({ code: 2001, detail: "who?" });
    await made.board.ready().catch(() => {});
    return made;
  }],
  ["a closed client", NOTHING, async () => {
    const made = await ready();
    made.client.close();
    return made;
  }],
];

describe.each(states)("%s", (_, most, make) => {
  it("costs next to nothing while nothing happens", async () => {
    const made = await make();
    // What was begun settles first.
    await vi.advanceTimersByTimeAsync(6_000);
    const counts = await quietly(made);
    for (const [what, count] of Object.entries(counts)) {
      expect(count, `${what} of ${JSON.stringify(counts)}`).toBeLessThanOrEqual(most[what as keyof Counts]);
    }
  });
});

describe("five seconds", () => {
  it("are begun anew by who comes back: a channel reopened within its linger stays open", async () => {
    const { server, board } = await ready();
    board.close();
    const again = (await setupOf(server)).board;
    const stop = again.on("status", () => {});
    await again.ready();
    stop();
    await vi.advanceTimersByTimeAsync(3_000);
    const release = again.retain();
    const subscribes = server.frames("subscribe").length;
    await pass(server, 60_000);
    expect(again.status).toBe("live");
    expect(server.frames("subscribe")).toHaveLength(subscribes);
    expect(server.frames("unsubscribe").filter(({ channel }) => channel === BOARD)).toHaveLength(1);
    release();
    await vi.advanceTimersByTimeAsync(4_900);
    expect(again.status).not.toBe("closed");
  });

  it("do not wake what was closed", async () => {
    for (const close of ["board", "client"] as const) {
      const made = await ready();
      const stop = made.board.watch("cards", () => {});
      const told: unknown[] = [];
      made[close].close();
      made.client.on("connection", ({ state }) => told.push(state));
      stop();
      await vi.advanceTimersByTimeAsync(30_000);
      expect(made.board.status).toBe("closed");
      // A client without channels rests; one that was closed stays so.
      expect(told).toEqual(close === "board" ? ["idle"] : []);
      expect(made.client.connection.state).toBe(close === "board" ? "idle" : "closed");
      expect(made.server.open).toEqual([]);
      expect(vi.getTimerCount()).toBe(0);
      made.client.close();
    }
  });
});

async function setupOf(server: Setup["server"]): Promise<Setup> {
  return setup({}, server);
}
