// @vitest-environment happy-dom
// Pages that a server rendered, and that go on in a browser.

import { act, cleanup } from "@testing-library/react";
import type { ReactNode } from "react";
import { StrictMode, Suspense } from "react";
import type { Root } from "react-dom/client";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { create } from "zustand";

import type { Client } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import type { Initial } from "../dist/react.js";
import {
  TidewireProvider,
  useChannelStatus,
  useCollection,
  useConnection,
  useMutation,
  usePending,
  usePresence,
  useReady,
  useRecord,
} from "../dist/react.js";
import { tidewire } from "../dist/zustand.js";
import type { Board } from "./support/board.js";
import { BOARD } from "./support/board.js";
import { page, until, useBoard } from "./support/page.js";

let complaints: unknown[];
let texts: string[];
let roots: Root[];
let container: HTMLElement;
let watch: MutationObserver;

beforeEach(() => {
  complaints = [];
  texts = [];
  roots = [];
  vi.spyOn(console, "error").mockImplementation((...args) => void complaints.push(args));
  vi.spyOn(console, "warn").mockImplementation((...args) => void complaints.push(args));
  container = document.body.appendChild(document.createElement("div"));
  watch = new MutationObserver(() => void texts.push(container.textContent));
});
afterEach(async () => {
  await act(async () => roots.forEach((root) => root.unmount()));
  watch.disconnect();
  container.remove();
  cleanup();
  vi.restoreAllMocks();
  // No mismatch, no boundary that was rendered anew, nothing that React complains about.
  expect(complaints).toEqual([]);
});

/** Renders with a client of its own, as a server does, and gives the markup to a page. */
async function hydrate(client: Client, what: ReactNode, initial?: Initial): Promise<string> {
  const own = createClient({ url: "http://tide.test" });
  const tree = (of: Client): ReactNode => (
    <StrictMode>
      <TidewireProvider client={of} initial={initial && (JSON.parse(JSON.stringify(initial)) as Initial)}>
        {what}
      </TidewireProvider>
    </StrictMode>
  );
  const html = renderToString(tree(own));
  expect(own.connection.state).toBe("idle");
  container.innerHTML = html;
  watch.observe(container, { subtree: true, childList: true, characterData: true, attributes: true });
  await act(async () => {
    const onRecoverableError = (error: unknown): void => void complaints.push(error);
    roots.push(hydrateRoot(container, tree(client), { onRecoverableError }));
  });
  return html;
}

function Everything(): ReactNode {
  const board = useBoard();
  const cards = useCollection(board, "cards", { filter: (c) => c.column === "todo", sortBy: (c) => c.position });
  const tags = useRecord(board, "cards", "a", (c) => [...(c?.tags ?? [])], (x, y) => x.join() === y.join());
  const rename = useMutation((title: string) => board.set("cards", "a", { title }));
  usePresence(board, { x: 0, y: 0 });
  useConnection();
  useChannelStatus(board);
  usePending(board, "cards", "a");
  return (
    <ul title={rename.status}>
      {cards.map((c) => <li key={c.id}>{c.title}</li>)}
      {tags}
    </ul>
  );
}

/** The same below a boundary, and only once there is a view. */
function Ready(): ReactNode {
  useReady(useBoard());
  return <Everything />;
}

const suspending = <Suspense fallback={<b>waiting</b>}><Ready /></Suspense>;
const shown = (): string => container.textContent;
const initial: Initial = {
  [BOARD]: {
    cards: {
      b: { title: "B", column: "todo", position: 2 },
      a: { title: "A", column: "todo", position: 1, tags: [] },
      z: { title: "Z", column: "done", position: 0 },
    },
  },
};

describe("a page without data from the server", () => {
  it("hydrates, then shows the view", async () => {
    const { client } = page();
    const html = await hydrate(client, <Everything />);
    expect(html).toBe('<ul title="idle"></ul>');
    await until(() => shown() === "AB");
  });

  it("hydrates to what the server said also when the view is there before", async () => {
    const { client, board } = page();
    await act(() => board.ready());
    await hydrate(client, <Everything />);
    expect(shown()).toBe("AB");
  });

  it("that waits for the view keeps what the server rendered, and shows no fallback", async () => {
    const { client } = page();
    const html = await hydrate(client, suspending);
    expect(html).not.toContain("waiting");
    await until(() => shown() === "AB");
    expect(texts.filter((text) => text.includes("waiting"))).toEqual([]);
  });
});

describe("a page with data from the server", () => {
  it("shows it from the first byte, until the view is there", async () => {
    const { server, client, board } = page();
    server.merge(BOARD, "cards", "b", { title: "B2" });
    const html = await hydrate(client, <Everything />, initial);
    expect(html).toContain("<li>A</li><li>B</li>");
    await until(() => shown() === "AB2");
    // Neither an empty list nor a fallback in between.
    expect(new Set(texts)).toEqual(new Set(["AB2"]));
    server.remove(BOARD, "cards", "a");
    await until(() => shown() === "B2");
    act(() => board.close());
    expect(shown()).not.toContain("A");
  });

  it("needs no fallback where components wait for the view", async () => {
    const { client, board } = page();
    const html = await hydrate(client, suspending, initial);
    expect(html).toContain("<li>A</li><li>B</li>");
    await until(() => board.status === "live");
    expect(shown()).toBe("AB");
    expect(texts.filter((text) => text !== "AB")).toEqual([]);
  });

  it("is given what a client on the server reads, as docs/react.md has it", async () => {
    const { client, board } = page();
    await act(() => board.ready());
    const cards = Object.fromEntries([...board.ids("cards"), "none"].map((id) => [id, board.get("cards", id)]));
    const here = page();
    const html = await hydrate(here.client, suspending, { [BOARD]: { cards } });
    expect(client.connection.state).toBe("connected");
    expect(html).toContain("<li>A</li><li>B</li>");
    await until(() => here.board.status === "live");
    expect(shown()).toBe("AB");
    expect(texts.filter((text) => text !== "AB")).toEqual([]);
  });

  it("gives way to a view that has nothing", async () => {
    const { server, client } = page();
    server.remove(BOARD, "cards", "a");
    server.remove(BOARD, "cards", "b");
    await hydrate(client, suspending, initial);
    expect(container.innerHTML).toContain("<ul");
    await until(() => shown() === "");
  });

  it("takes ids of any name, and finds none that it was not given", async () => {
    const { client } = page();
    const odd = JSON.parse('{"board:main":{"cards":{"__proto__":{"title":"P"},"constructor":{"title":"C"}}}}') as Initial;
    function Odd(): ReactNode {
      const board = useBoard();
      const title = (id: string): ReactNode => useRecord(board, "cards", id)?.title ?? "-";
      return [title("__proto__"), title("constructor"), title("toString"), useCollection(board, "columns").length];
    }
    const own = renderToString(<TidewireProvider client={client} initial={odd}><Odd /></TidewireProvider>);
    expect(own.replaceAll("<!-- -->", "")).toBe("PC-0");
  });
});

describe("a Zustand store", () => {
  it("made before and after the view hydrates to what the server said", async () => {
    const made = page();
    const App = ({ use }: { use: () => number }): ReactNode => <p>{use()}</p>;
    const storeOf = (client: Client) => {
      const useStore = create(tidewire(client.channel<Board>(BOARD), { cards: "cards" }, () => ({ column: "todo" })));
      return () => useStore((s) => Object.keys(s.cards).length);
    };
    const html = renderToString(<App use={storeOf(createClient({ url: "http://tide.test" }))} />);
    expect(html).toBe("<p>0</p>");
    await act(() => made.board.ready());
    container.innerHTML = html;
    const use = storeOf(made.client);
    await act(async () => {
      const onRecoverableError = (error: unknown): void => void complaints.push(error);
      roots.push(hydrateRoot(container, <App use={use} />, { onRecoverableError }));
    });
    await until(() => shown() === "2");
  });
});
