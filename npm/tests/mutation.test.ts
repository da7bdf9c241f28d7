import { describe, expect, it, vi } from "vitest";

import type { Mutation } from "../dist/index.js";
import { TidewireError } from "../dist/index.js";
import type { Board } from "./support/board.js";
import { BOARD, card, ready, setup } from "./support/board.js";
import { arrive, until } from "./support/until.js";

function thrown(call: () => unknown): TidewireError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(TidewireError);
    return error as TidewireError;
  }
  throw new Error("nothing was thrown");
}

describe("a mutation", () => {
  it("shows at once, has an id, and is committed once the server's state contains it", async () => {
    const { server, board } = await ready();
    server.holding = true;
    const mutation = board.set("cards", "a", { title: "A2" });
    const seen: string[] = [mutation.status];
    mutation.subscribe(() => seen.push(mutation.status));
    expect(board.get("cards", "a")?.title).toBe("A2");
    expect(board.pending("cards", "a")).toBe(true);
    expect(board.pending("cards", "b")).toBe(false);
    await vi.waitFor(() => expect(mutation.id).toMatch(/^[0-9a-f]{32}:1@board:main$/));
    server.release();
    await mutation.committed;
    expect(board.pending("cards", "a")).toBe(false);
    expect(server.record(BOARD, "cards", "a")?.title).toBe("A2");
    expect(seen.at(-1)).toBe("committed");
    expect(new Set(seen).size).toBe(seen.length);
  });

  it("puts, sets, unsets, increments and deletes", async () => {
    const { server, board } = await ready();
    await board.put("cards", "c", card({ votes: 1, tags: ["x"] })).committed;
    await board.increment("cards", "c", "votes", 4).committed;
    await board.increment("cards", "c", "votes").committed;
    await board.increment("cards", "c", "votes", -2n).committed;
    await board.unset("cards", "c", "tags").committed;
    await board.set("cards", "c", { title: "C" }).committed;
    expect(server.record(BOARD, "cards", "c")).toEqual({ title: "C", column: "todo", position: 9, votes: 4 });
    expect(board.get("cards", "c")).toEqual(server.record(BOARD, "cards", "c"));
    await board.delete("cards", "c").committed;
    expect(board.get("cards", "c")).toBeUndefined();
    expect(server.record(BOARD, "cards", "c")).toBeUndefined();
  });

  it("rolls back when it is refused, and says why and what is there now", async () => {
    const { server, board } = await ready();
    server.judge = (changes) => (changes[0]?.set?.id === "a" ? { code: 3007, detail: "this column is locked" } : undefined);
    const heard: unknown[] = [];
    board.on("rejected", ({ mutation, error }) => heard.push([mutation.status, error.code]));
    const refused = board.set("cards", "a", { title: "no" });
    const kept = board.set("cards", "b", { title: "yes" });
    expect(board.get("cards", "a")?.title).toBe("no");
    const error = await refused.committed.then(
      () => undefined,
      (reason: TidewireError) => reason,
    );
    expect(error).toBeInstanceOf(TidewireError);
    expect(error).toMatchObject({ code: "refused", message: "this column is locked", retryable: false });
    expect(error?.current).toEqual({ title: "A", column: "todo", position: 1 });
    expect(refused.error).toBe(error);
    expect(heard).toEqual([["rejected", "refused"]]);
    expect(board.get("cards", "a")?.title).toBe("A");
    await kept.committed;
    expect(board.get("cards", "b")?.title).toBe("yes");
  });

  it("does not cause an unhandled rejection when nobody awaits it", async () => {
    const { server, board } = await ready();
    const unhandled: unknown[] = [];
    const note = (reason: unknown): unknown => unhandled.push(reason);
    process.on("unhandledRejection", note);
    server.judge = () => ({ code: 3007, detail: "no" });
    const mutation = board.set("cards", "a", { title: "no" });
    await until(() => mutation.status === "rejected");
    await arrive();
    await arrive();
    process.off("unhandledRejection", note);
    expect(unhandled).toEqual([]);
  });

  it("waits out a broken link and is applied once", async () => {
    const { server, board, client } = await ready({ retry: { baseMs: 1, maxMs: 2 } });
    server.holding = true;
    const mutation = board.increment("cards", "a", "position");
    await until(() => server.frames("push").length === 1);
    server.holding = false;
    server.cut();
    expect(client.connection.state).toBe("waiting");
    await mutation.committed;
    expect(server.record(BOARD, "cards", "a")?.position).toBe(2);
    // The answer to the first push comes late, and changes nothing.
    server.release();
    await arrive();
    expect(board.get("cards", "a")?.position).toBe(2);
  });

  it("is refused in the call when it cannot be right", async () => {
    const { server, board } = await ready();
    const bad = board as unknown as Record<string, (...args: unknown[]) => Mutation>;
    const cases: [string, () => unknown, RegExp][] = [
      ["invalid", () => bad.set?.("cards", "a", { title: () => 1 }), /function/],
      ["invalid", () => bad.set?.("cards", "a", { position: Number.NaN }), /JSON cannot say/],
      ["invalid", () => bad.set?.("cards", "a", { position: 2n ** 63n }), /field "position".*64 bits/],
      ["invalid", () => bad.set?.("cards", "\ud800", { title: "x" }), /surrogates/],
      ["invalid", () => bad.set?.("cards", 7, { title: "x" }), /must be a string/],
      ["invalid", () => bad.set?.("cards", "a", undefined), /set takes an object/],
      ["invalid", () => bad.put?.("cards", "a", "title"), /put takes an object/],
      ["invalid", () => bad.put?.("cards", "a", [1]), /put takes an object/],
      ["invalid", () => bad.set?.("cards", "", { title: "x" }), /record id/],
      ["invalid", () => bad.set?.("ca rds", "a", { title: "x" }), /collection/],
      ["invalid", () => bad.set?.("cards", "a", { "": 1 }), /field name/],
      ["invalid", () => bad.increment?.("cards", "a", "votes", 0.5), /integer/],
      ["invalid", () => bad.batch?.(() => {}), /needs a change/],
      ["too_large", () => bad.set?.("cards", "a", { title: "x".repeat(70_000) }), /over/],
    ];
    for (const [code, call, message] of cases) {
      const error = thrown(call);
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    }
    await arrive();
    expect(server.frames("push")).toEqual([]);
    expect(board.get("cards", "a")?.title).toBe("A");
  });
});

describe("a batch", () => {
  it("is one mutation: all or nothing", async () => {
    const { server, board } = await ready();
    server.judge = (changes) =>
      changes.some((change) => change.set?.id === "b") ? { code: 3007, detail: "b is locked" } : undefined;
    const refused = board.batch((tx) => {
      tx.set("cards", "a", { title: "both" });
      tx.set("cards", "b", { title: "both" });
    });
    expect(board.get("cards", "a")?.title).toBe("both");
    await expect(refused.committed).rejects.toMatchObject({ code: "refused" });
    expect(board.get("cards", "a")?.title).toBe("A");
    const kept = board.batch((tx) => {
      tx.put("cards", "c", card());
      tx.increment("cards", "c", "votes", 2);
      tx.delete("cards", "a");
    });
    await kept.committed;
    expect(board.ids("cards")).toEqual(["b", "c"]);
    expect(board.get("cards", "c")?.votes).toBe(2);
    expect(server.frames("push").flatMap((push) => push.items)).toHaveLength(2);
  });

  it("does nothing when its function throws", async () => {
    const { server, board } = await ready();
    expect(() =>
      board.batch((tx) => {
        tx.delete("cards", "a");
        throw new RangeError("changed my mind");
      }),
    ).toThrow(RangeError);
    expect(board.ids("cards")).toEqual(["a", "b"]);
    await arrive();
    expect(server.frames("push")).toEqual([]);
  });

  it("refuses an async function, and changes after it is over", async () => {
    const { board } = await ready();
    expect(thrown(() => board.batch(async (tx) => tx.delete("cards", "a"))).message).toMatch(/not an async one/);
    let late: (() => void) | undefined;
    await board.batch((tx) => {
      tx.set("cards", "a", { title: "x" });
      late = () => tx.delete("cards", "a");
    }).committed;
    expect(thrown(() => late?.()).message).toMatch(/batch is over/);
    expect(board.get("cards", "a")?.title).toBe("x");
  });
});

describe("before the core is loaded", () => {
  it("mutations wait in order and show as soon as it is there", async () => {
    const { server, board } = setup();
    const first = board.put("cards", "c", card({ votes: 1 }));
    const second = board.increment("cards", "c", "votes", 5);
    expect(first.status).toBe("queued");
    expect(board.pending("cards", "c")).toBe(true);
    expect(board.status).toBe("loading");
    await board.ready();
    expect(board.get("cards", "c")?.votes).toBe(6);
    await Promise.all([first.committed, second.committed]);
    expect(server.record(BOARD, "cards", "c")?.votes).toBe(6);
  });

  it("only 1,000 wait; the next one is refused in the call", () => {
    const { board } = setup();
    for (let n = 0; n < 1000; n++) board.increment("cards", "a", "votes");
    expect(thrown(() => board.increment("cards", "a", "votes"))).toMatchObject({ code: "queue_full", retryable: true });
  });

  it("one that turns out invalid is rejected alone", async () => {
    const { board } = setup();
    const bad = board.put("ca rds" as "cards", "c", card());
    const good = board.set("cards", "a", { title: "ok" });
    await expect(bad.committed).rejects.toMatchObject({ code: "invalid" });
    await good.committed;
    expect(bad.status).toBe("rejected");
  });
});

describe("closing", () => {
  it("and opening again at once finds what was there, and what is under way", async () => {
    const { server, board, client } = await ready();
    server.holding = true;
    const mutation = board.set("cards", "a", { title: "under way" });
    board.close();
    const again = client.channel<Board>(BOARD);
    await again.ready();
    expect(again.get("cards", "a")?.title).toBe("under way");
    expect(again.pending("cards", "a")).toBe(true);
    server.release();
    await mutation.committed;
    expect(again.pending("cards", "a")).toBe(false);
    await again.set("cards", "a", { title: "after" }).committed;
    expect(server.record(BOARD, "cards", "a")?.title).toBe("after");
  });

  it("a closed channel still brings its mutations to their outcome", async () => {
    const { server, board, client } = await ready();
    server.holding = true;
    const mutation = board.set("cards", "a", { title: "bye" });
    board.close();
    expect(board.status).toBe("closed");
    expect(board.get("cards", "a")).toBeUndefined();
    expect(thrown(() => board.set("cards", "a", { title: "late" })).code).toBe("closed");
    expect(client.channel(BOARD)).not.toBe(board);
    await until(() => server.frames("push").length === 1);
    server.release();
    await mutation.committed;
    expect(server.record(BOARD, "cards", "a")?.title).toBe("bye");
  });

  it("a closed client says of what it sent that nobody knows", async () => {
    const { server, board, client } = await ready();
    server.holding = true;
    const mutation = board.set("cards", "a", { title: "?" });
    client.close();
    await expect(mutation.committed).rejects.toMatchObject({ code: "indeterminate", cause: { code: "closed" } });
    expect(client.connection).toMatchObject({ state: "closed", reason: { code: "closed" } });
    expect(server.open).toEqual([]);
    expect(thrown(() => client.channel(BOARD)).code).toBe("closed");
    await expect(board.ready()).rejects.toMatchObject({ code: "closed" });
  });
});

it("changes made in one turn of the event loop share messages, and all are sent in it", async () => {
  const { server, board } = await ready();
  const before = server.messages;
  const made = Array.from({ length: 200 }, (_, at) => board.set("cards", "a", { position: at }));
  expect(board.get("cards", "a")?.position).toBe(199);
  await undefined;
  expect(server.messages - before).toBe(1);
  await Promise.all(made.map((mutation) => mutation.committed));
});
