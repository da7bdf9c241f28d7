// @vitest-environment happy-dom
// React renders large updates in slices, and patches arrive between them. What is committed together
// must nevertheless be one state.

import type { ReactNode } from "react";
import { startTransition, useDeferredValue, useEffect, useLayoutEffect, useState } from "react";
import type { Root } from "react-dom/client";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { Channel } from "../dist/index.js";
import { TidewireProvider, useChannel, useCollection, useReady, useRecord } from "../dist/react.js";
import type { Board } from "./support/board.js";
import { BOARD } from "./support/board.js";
import { page } from "./support/page.js";
import { until } from "./support/until.js";

type Read = (board: Channel<Board>) => unknown;

const ours = {
  useRecord: (board: Channel<Board>) => useRecord(board, "cards", "a")?.position,
  "useRecord with a selector": (board: Channel<Board>) => useRecord(board, "cards", "a", (c) => c?.position),
  useCollection: (board: Channel<Board>) => useCollection(board, "cards", { filter: (c) => c.id === "a" })[0]?.position,
} satisfies Record<string, Read>;

/** What one writes without `useSyncExternalStore`: reads while rendering, renders again when told. */
function useNaive(board: Channel<Board>): unknown {
  const [, again] = useState(0);
  useEffect(() => {
    again((n) => n + 1);
    return board.watch("cards", "a", () => again((n) => n + 1));
  }, [board]);
  return board.get("cards", "a")?.position;
}

let root: Root;
let container: HTMLElement;
let commits: string[][];

beforeEach(() => {
  // Without `act`: React's own scheduler, with its slices of 5 ms.
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = false;
  container = document.body.appendChild(document.createElement("div"));
  commits = [];
});
afterEach(() => {
  root.unmount();
  container.remove();
});

const ROWS = 25;

/** A component that takes a while, and at each commit notes what all of them show. */
function Row({ read, of }: { read: Read; of: unknown }): ReactNode {
  const value = read(useChannel<Board>(BOARD));
  const end = performance.now() + 2;
  while (performance.now() < end);
  useLayoutEffect(() => {
    commits.push([...container.querySelectorAll("p")].map((p) => p.textContent));
  });
  return <p title={String(of)}>{String(value)}</p>;
}

const rows = (read: Read, of: unknown): ReactNode =>
  Array.from({ length: ROWS }, (_, n) => <Row key={n} read={read} of={of} />);

/** How many commits showed more than one state, of a render that patches came into. */
async function tornBy(read: Read, App: (props: { read: Read }) => ReactNode, start: () => void): Promise<number> {
  const { server, client, board } = page(false);
  await board.ready();
  root = createRoot(container);
  root.render(<TidewireProvider client={client}><App read={read} /></TidewireProvider>);
  await until(() => container.textContent !== "");
  commits = [];
  let during = 0;
  const before = container.innerHTML;
  startTransition(start);
  while (container.innerHTML === before || during === 0) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (container.innerHTML !== before) break;
    during += 1;
    server.merge(BOARD, "cards", "a", { position: 100 + during });
  }
  expect(during).toBeGreaterThan(3);
  // It comes to rest at the last state.
  await until(() => new Set([...container.querySelectorAll("p")].map((p) => p.textContent)).size === 1);
  await until(() => container.querySelector("p")?.textContent === String(100 + during));
  return commits.filter((texts) => new Set(texts).size > 1).length;
}

let show: (shown: boolean) => void;

function Mounting({ read }: { read: Read }): ReactNode {
  const [shown, setShown] = useState(false);
  show = setShown;
  return shown ? rows(read, 0) : "nothing yet";
}

let set: (value: number) => void;

/** Its rows are rendered again, later and in slices, whenever a value changes. */
function Deferring({ read }: { read: Read }): ReactNode {
  useReady(useChannel<Board>(BOARD));
  const [value, setValue] = useState(0);
  set = setValue;
  return rows(read, useDeferredValue(value));
}

describe.each(Object.entries(ours))("%s", (_, read) => {
  it("shows one state in components that mount in a transition", async () => {
    expect(await tornBy(read, Mounting, () => show(true))).toBe(0);
  });
});

it("a hook that only reads and renders again shows several: the test can fail", async () => {
  expect(await tornBy(useNaive, Mounting, () => show(true))).toBeGreaterThan(0);
});

describe("with useDeferredValue", () => {
  // The rows are mounted here: each patch renders them at once, so React gives up the slices so far.
  it.each(Object.entries(ours))("%s shows one state", async (_, read) => {
    const { server, client, board } = page(false);
    await board.ready();
    root = createRoot(container);
    root.render(<TidewireProvider client={client}><Deferring read={read} /></TidewireProvider>);
    await until(() => container.querySelectorAll("p").length === ROWS);
    commits = [];
    for (let round = 1; round <= 5; round++) {
      set(round);
      for (let tick = 0; tick < 3; tick++) await new Promise<void>((resolve) => setImmediate(resolve));
      server.merge(BOARD, "cards", "a", { position: 100 + round });
    }
    await until(() => container.querySelector("p")?.title === "5" && container.textContent === "105".repeat(ROWS));
    expect(commits.length).toBeGreaterThan(ROWS);
    expect(commits.filter((texts) => new Set(texts).size > 1)).toEqual([]);
  });
});
