// Status, promise, event and what is watched say the same, in every final state of client, connection and channel.

import { describe, expect, it, onTestFinished, vi } from "vitest";

import type { ChannelEvents, Client, Mutation, TidewireError } from "../dist/index.js";
import { createClient } from "../dist/index.js";
import type { Board } from "./support/board.js";
import { BOARD, boardServer, card, ready, setup } from "./support/board.js";
import { arrive, until } from "./support/until.js";

type Ends = "committed" | "rejected" | "expired" | "cancelled" | "indeterminate" | "lost";
const ENDS: readonly Ends[] = ["committed", "rejected", "expired", "cancelled", "indeterminate", "lost"];

interface Told {
  name: Ends;
  mutation: Mutation;
  error?: TidewireError;
}

function listen(board: { on: <E extends keyof ChannelEvents>(name: E, listener: (event: ChannelEvents[E]) => void) => void }): Told[] {
  const told: Told[] = [];
  for (const name of ENDS) {
    board.on(name, (event) => told.push("committed" in event ? { name, mutation: event } : { name, ...(event as Omit<Told, "name">) }));
  }
  return told;
}

/** All that says how a mutation ended agrees. */
async function agrees(mutation: Mutation, end: Ends, told: Told[], code: string = end): Promise<void> {
  const error = await mutation.committed.then(
    () => undefined,
    (reason: TidewireError) => reason,
  );
  await arrive();
  expect(mutation.status).toBe(end);
  expect(error).toBe(mutation.error);
  expect(error?.code).toBe(end === "committed" ? undefined : code);
  const own = told.filter((one) => one.mutation === mutation);
  expect(own.map(({ name }) => name)).toEqual([end]);
  expect(own[0]?.error).toBe(error);
}

async function offline(): Promise<ReturnType<typeof setup>> {
  const made = await ready({ retry: { baseMs: 100_000, maxMs: 100_000 } });
  made.server.cut();
  expect(made.client.connection.state).toBe("waiting");
  return made;
}

describe("a mutation without an outcome ends when its client is closed", () => {
  it("as cancelled while the core loads", async () => {
    const { client, board } = setup();
    const told = listen(board);
    const mutation = board.put("cards", "x", card());
    client.close();
    await agrees(mutation, "cancelled", told);
    expect(mutation.error).toMatchObject({ cause: { code: "closed" }, message: expect.stringMatching(/the client was closed/) });
    expect(mutation.cancel()).toBe(false);
  });

  it("as cancelled when it was never sent", async () => {
    const { client, board } = await offline();
    const told = listen(board);
    const seen: string[] = [];
    const mutation = board.set("cards", "a", { title: "offline" });
    mutation.subscribe(() => seen.push(mutation.status));
    client.close();
    await agrees(mutation, "cancelled", told);
    expect(seen.at(-1)).toBe("cancelled");
  });

  it("as indeterminate when it was sent, also by the close itself", async () => {
    const { server, client, board } = await ready();
    const told = listen(board);
    server.holding = true;
    const sent = board.set("cards", "a", { title: "sent" });
    await until(() => server.frames("push").length === 1);
    const last = board.set("cards", "b", { title: "with the close" });
    client.close();
    await agrees(sent, "indeterminate", told);
    await agrees(last, "indeterminate", told);
  });

  it("also of a channel that was closed before", async () => {
    const { server, client, board } = await ready();
    const told = listen(board);
    server.holding = true;
    const sent = board.set("cards", "a", { title: "sent" });
    await until(() => server.frames("push").length === 1);
    board.close();
    expect(sent.status).toBe("attempted");
    client.close();
    await agrees(sent, "indeterminate", told);
  });

  it("once, whatever is closed again", async () => {
    const { client, board } = await offline();
    const told = listen(board);
    const mutation = board.set("cards", "a", { title: "offline" });
    board.close();
    client.close();
    client.close();
    await agrees(mutation, "cancelled", told);
  });
});

it("a channel that is closed while the core loads ends what waits as cancelled", async () => {
  const { client, board } = setup();
  const told = listen(board);
  const mutation = board.put("cards", "x", card());
  board.close();
  await agrees(mutation, "cancelled", told);
  expect(client.connection.state).not.toBe("closed");
});

it("a mutation that is taken back says so by event too", async () => {
  const { board } = await offline();
  const told = listen(board);
  const mutation = board.set("cards", "a", { title: "offline" });
  expect(mutation.cancel()).toBe(true);
  await agrees(mutation, "cancelled", told);
});

it("a channel that the server refuses ends its mutations, and ready", async () => {
  const { server, board } = setup();
  server.grant = () => ({ code: 2004, detail: "not for you" });
  const told = listen(board);
  const mutation = board.put("cards", "x", card());
  const error = await board.ready().then(
    () => undefined,
    (reason: TidewireError) => reason,
  );
  expect(error).toBe(board.error);
  expect(board.status).toBe("failed");
  await agrees(mutation, "rejected", told, error?.code);
  let late: Mutation | undefined;
  try {
    late = board.put("cards", "late", card());
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: "forbidden" });
  }
  if (late) await agrees(late, "rejected", told, "forbidden");
});

describe("ready rejects when nobody will make it so", () => {
  async function over(): Promise<{ client: Client; code: string | undefined }> {
    const server = boardServer();
    server.admit = () => ({ code: 2001, detail: "who?" });
    const client = createClient({ url: "http://tide.test", token: "dev:ana", WebSocket: server.WebSocket });
    onTestFinished(() => client.close());
    client.connect();
    await until(() => client.connection.state === "closed");
    return { client, code: client.connection.reason?.code };
  }

  it("asked before or after the connection was over", async () => {
    const { client, code } = await over();
    expect(code).toBe("unauthenticated");
    const late = client.channel<Board>(BOARD).ready();
    await expect(late).rejects.toMatchObject({ code });
    await expect(client.channel<Board>("board:other").ready()).rejects.toBe(client.connection.reason);
  });

  it("and a closed client settles it", async () => {
    const { client, board } = setup();
    const promise = board.ready();
    client.close();
    await expect(promise).rejects.toMatchObject({ code: "closed" });
    await expect(board.ready()).rejects.toMatchObject({ code: "closed" });
  });
});

describe("who watches a record", () => {
  it("is called once when an own change shows, and once when it is no longer pending", async () => {
    const { board } = await ready();
    const one = vi.fn();
    const all = vi.fn();
    board.watch("cards", "a", one);
    board.watch("cards", all);
    const mutation = board.set("cards", "a", { title: "mine" });
    expect(one).toHaveBeenCalledTimes(1);
    expect(all).toHaveBeenCalledTimes(1);
    await mutation.committed;
    await arrive();
    expect(one).toHaveBeenCalledTimes(2);
    board.batch((tx) => {
      tx.set("cards", "a", { title: "x" });
      tx.set("cards", "a", { column: "y" });
      tx.set("cards", "b", { title: "z" });
    });
    expect(one).toHaveBeenCalledTimes(3);
  });

  it("is not called to find nothing when channel or client are closed", async () => {
    for (const close of ["board", "client"] as const) {
      const made = await ready();
      const found: unknown[] = [];
      made.server.holding = true;
      made.board.set("cards", "a", { title: "under way" });
      made.board.watch("cards", "a", () => found.push(made.board.get("cards", "a")?.title));
      made.board.watch("cards", () => found.push(made.board.get("cards", "b")?.title));
      made[close].close();
      await arrive();
      expect(found).toEqual([]);
    }
  });
});

it("an idle connection says since when", () => {
  const before = Date.now();
  const { client } = setup();
  expect(client.connection.since).toBeGreaterThanOrEqual(before);
  expect(client.connection.since).toBeLessThanOrEqual(Date.now());
});
