// @vitest-environment happy-dom
// Warnings about misuse: each once, with cause and cure, and in development only.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import { act, cleanup, render, renderHook } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { build } from "vite";
import { createStore } from "zustand/vanilla";

import type { Channel, ClientOptions } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import { TidewireProvider, useCollection, useRecord } from "../dist/react.js";
import { tidewire } from "../dist/zustand.js";
import { BOARD, boardServer, card, ready, setup } from "./support/board.js";
import { page, until, useBoard, wasm } from "./support/page.js";

const CODES = ["client_in_render", "closed_channel", "inline_functions", "stale_set", "two_clients", "vanishing_value"];

let warnings: string[];

beforeEach(() => {
  warnings = [];
  vi.spyOn(console, "warn").mockImplementation((text: string) => void warnings.push(text));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  vi.useRealTimers();
});

/** The misuses, by the warning that each one deserves. */
const misuses: Record<string, () => Promise<void>> = {
  async inline_functions() {
    const { server, board, wrapper } = page(false);
    for (let n = 0; n < 1000; n++) server.put(BOARD, "cards", `c${n}`, { ...card() });
    await act(() => board.ready());
    const { rerender } = renderHook(() => useCollection(useBoard(), "cards", { filter: (c) => c.votes === 1 }), { wrapper });
    for (let round = 0; round < 12; round++) rerender();
  },

  async closed_channel() {
    const { board } = await ready({ wasm });
    board.close();
    renderHook(() => useRecord(board, "cards", "a"));
  },

  async client_in_render() {
    const App = (): ReactNode => <TidewireProvider client={createClient({ url: "http://tide.test" })}>x</TidewireProvider>;
    const { rerender } = render(<App />);
    for (let round = 0; round < 5; round++) rerender(<App />);
  },

  async stale_set() {
    const { server, board } = await ready({ wasm });
    const store = createStore(tidewire(board, { cards: "cards" }, () => ({})));
    const { cards } = store.getState();
    server.merge(BOARD, "cards", "a", { title: "theirs" });
    await until(() => store.getState().cards.a?.title === "theirs");
    store.setState({ cards: { ...cards, b: { ...cards.b!, title: "mine" } } });
  },

  async two_clients() {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const url = "http://two.test";
    await ready({ wasm, url });
    await ready({ wasm, url });
    vi.advanceTimersByTime(11_000);
  },

  async vanishing_value() {
    const { board } = await ready({ wasm });
    const any = board as unknown as Channel<Record<string, Record<string, unknown>>>;
    any.set("cards", "a", { author: { name: "Ana", born: undefined } });
    any.put("cards", "a", { title: "A", tags: undefined });
  },
};

/** Right uses that look alike. */
const uses: Record<string, () => Promise<void>> = {
  async "functions that stay, or change now and then"() {
    const { server, board, wrapper } = page(false);
    for (let n = 0; n < 1000; n++) server.put(BOARD, "cards", `c${n}`, { ...card() });
    await act(() => board.ready());
    const stays = (c: { votes?: number }): boolean => c.votes === 1;
    const { rerender } = renderHook(
      ({ round }) => useCollection(useBoard(), "cards", { filter: round % 5 ? stays : (c) => stays(c), sortBy: "title" }),
      { wrapper, initialProps: { round: 0 } },
    );
    for (let round = 0; round < 40; round++) rerender({ round: Math.floor(round / 2) });
  },

  async "new functions on few records"() {
    const { board, wrapper } = page(false);
    await act(() => board.ready());
    const { rerender } = renderHook(() => useCollection(useBoard(), "cards", { filter: (c) => c.votes === 1 }), { wrapper });
    for (let round = 0; round < 20; round++) rerender();
  },

  async "a channel that is closed under a component"() {
    const { board, wrapper } = page();
    const { rerender } = renderHook(() => useRecord(useBoard(), "cards", "a")?.title, { wrapper });
    await until(() => board.status === "live");
    act(() => board.close());
    rerender();
  },

  async "another client now and then"() {
    const client = (): ReturnType<typeof createClient> => createClient({ url: "http://tide.test" });
    const App = ({ of }: { of: ReturnType<typeof createClient> }): ReactNode => <TidewireProvider client={of}>x</TidewireProvider>;
    const first = client();
    const { rerender } = render(<App of={first} />);
    for (let round = 0; round < 5; round++) {
      const next = client();
      rerender(<App of={next} />);
      rerender(<App of={next} />);
    }
  },

  async "a client that takes the place of another one, and clients of different servers"() {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const server = boardServer();
    const open = async (options: Partial<ClientOptions>): Promise<ReturnType<typeof setup>> => {
      const made = setup({ wasm, ...options }, server);
      await made.board.ready();
      return made;
    };
    const old = await open({ url: "http://one.test" });
    await open({ url: "http://one.test" });
    old.client.close();
    await open({ url: "http://other.test" });
    vi.advanceTimersByTime(30_000);
  },

  async "values that JSON can say"() {
    const { board } = await ready({ wasm });
    const any = board as unknown as Channel<Record<string, Record<string, unknown>>>;
    any.set("cards", "a", { author: { name: "Ana", born: null, at: new Date(0).toJSON() }, tags: [1, [true]], none: null });
  },
};

describe("in production", () => {
  it.each(Object.entries(misuses))("says nothing about %s", async (_, misuse) => {
    vi.stubEnv("NODE_ENV", "production");
    await misuse();
    expect(warnings).toEqual([]);
  });
});

describe("in development", () => {
  it.each(Object.entries(uses))("says nothing about %s", async (_, use) => {
    await use();
    expect(warnings).toEqual([]);
  });

  it.each(Object.entries(misuses))("tells %s once, and what to do", async (code, misuse) => {
    await misuse();
    cleanup();
    await misuse();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(new RegExp(`^tidewire warning ${code}: .+`));
    const guide = await readFile(`${import.meta.dirname}/../../docs/errors.md`, "utf8");
    expect(guide).toContain(`| \`${code}\` |`);
  });

  it("knows no other", () => {
    expect(Object.keys(misuses).sort()).toEqual(CODES);
  });
});

describe("a bundle", () => {
  const bundle = async (mode: "production" | "development"): Promise<string> => {
    const outDir = await mkdtemp(`${tmpdir()}/tidewire-warn-`);
    onTestFinished(() => rm(outDir, { recursive: true }));
    await build({
      configFile: false,
      logLevel: "silent",
      mode,
      define: { "process.env.NODE_ENV": JSON.stringify(mode) },
      build: {
        outDir,
        minify: true,
        lib: { entry: `${import.meta.dirname}/../dist/react.js`, formats: ["es"], fileName: "bundle" },
        rollupOptions: { external: ["react"] },
      },
    });
    return readFile(`${outDir}/bundle.js`, "utf8");
  };

  it("for production has no word of them", async () => {
    const text = await bundle("production");
    expect(text).toContain("tidewire client here");
    expect(text).not.toContain("tidewire warning");
    expect(text).not.toContain("useCollection was given");
    expect(text).not.toContain("NODE_ENV");
  });

  it("for development has them", async () => {
    const text = await bundle("development");
    expect(text).toContain("tidewire warning");
    expect(text).toContain("useCollection was given");
  });
});

it("a platform without `process` can do without", async () => {
  const program = `
    const log = console.log.bind(console);
    const warned = [];
    console.warn = (text) => warned.push(text);
    const { warnOfVanishing } = await import(process.argv[1] + "warn.js");
    delete globalThis.process;
    warnOfVanishing("author", { born: undefined });
    log(JSON.stringify({ process: typeof process, warned }));
  `;
  const dist = pathToFileURL(`${import.meta.dirname}/../dist/`).href;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, dist]);
  expect(JSON.parse(stdout)).toEqual({ process: "undefined", warned: [] });
});
