// What a change may ask for besides: preconditions, deadlines, order, coalescing; and taking it back.

import { describe, expect, it, vi } from "vitest";

import type { Conflict, Mutation } from "../dist/index.js";
import { TidewireError } from "../dist/index.js";
import type { Board } from "./support/board.js";
import { BOARD, card, ready, setup } from "./support/board.js";
import { until } from "./support/until.js";

const CONFLICT = { code: 3003, detail: "it changed" };

async function refusal(mutation: Mutation): Promise<TidewireError> {
  const error: unknown = await mutation.committed.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TidewireError);
  return error as TidewireError;
}

/** What each pushed item was: its number, and the ids that it touches. */
function pushed(frames: Record<string, any>[]): [number, string][] {
  return frames.flatMap((push) =>
    (push.items as Record<string, any>[]).map((item, at): [number, string] => [
      (push.firstN as number) + at,
      item.noop ? "noop" : (item.changes as Record<string, any>[]).map((change) => Object.values(change)[0].id).join(),
    ]),
  );
}

describe("preconditions", () => {
  it("travel with the change, which shows whatever they say", async () => {
    const { server, board } = await ready();
    server.holding = true;
    board.set("cards", "a", { title: "mine" }, {
      require: [
        { exists: ["cards", "a"] },
        { absent: ["columns", "nowhere"] },
        { equal: ["cards", "a", "position", 1] },
        { unchanged: ["cards", "b"] },
        { unchanged: ["cards", "b"], since: { epoch: 1, seq: 2, tag: 3 } },
      ],
    });
    expect(board.get("cards", "a")?.title).toBe("mine");
    await until(() => server.frames("push").length > 0);
    const { pre } = server.frames("push")[0]?.items[0];
    expect(pre[0]).toEqual({ exists: { collection: "cards", id: "a" } });
    expect(pre[1]).toEqual({ absent: { collection: "columns", id: "nowhere" } });
    expect(pre[2].eq).toMatchObject({ collection: "cards", id: "a", field: "position" });
    expect(Buffer.from(pre[2].eq.value).toString()).toBe("1");
    expect(pre[3].unchanged.since).toEqual(board.cursor);
    expect(pre[4].unchanged.since).toEqual({ epoch: 1, seq: 2, tag: 3 });
  });

  it("that do not hold reject with what there is", async () => {
    const { server, board } = await ready();
    server.judge = () => CONFLICT;
    const heard: string[] = [];
    board.on("rejected", ({ error }) => heard.push(error.code));
    const refused = board.set("cards", "a", { title: "mine" }, { require: [{ equal: ["cards", "a", "title", "old"] }] });
    const error = await refusal(refused);
    expect(error).toMatchObject({ code: "conflict", message: "it changed", current: { title: "A", position: 1 } });
    expect(Object.isFrozen(error.current)).toBe(true);
    expect(board.get("cards", "a")?.title).toBe("A");
    expect(heard).toEqual(["conflict"]);
    const gone = await refusal(board.put("cards", "z", card(), { require: [{ exists: ["cards", "z"] }] }));
    expect(gone.current).toBeUndefined();
  });

  it("that nobody can judge are refused in the call", async () => {
    const { board } = setup();
    expect(() => board.set("cards", "a", {}, { require: [{ unchanged: ["cards", "a"] }] })).toThrow(/await ready/);
    expect(() => board.set("cards", "a", {}, { require: [{ exists: ["cards", "\ud800"] }] })).toThrow(TidewireError);
    expect(() => board.set("cards", "a", { title: "x" }, { ttlMs: Number.NaN })).toThrow(/ttlMs/);
  });
});

describe("onConflict", () => {
  it("makes the change anew on top of what there is, and the mutation goes on", async () => {
    const { server, board } = await ready();
    server.judge = (_, item) => (item.pre.length > 0 ? CONFLICT : undefined);
    const rejected = vi.fn();
    board.on("rejected", rejected);
    const seen: Conflict<Board>[] = [];
    let first: string | undefined;
    const mutation = board.set("cards", "a", { title: "mine" }, {
      require: [{ equal: ["cards", "a", "title", "old"] }],
      onConflict: (conflict) => {
        first = mutation.id;
        seen.push(conflict);
        conflict.retry((tx) => tx.set("cards", "a", { title: `${conflict.current?.title as string} and mine` }));
      },
    });
    await mutation.committed;
    expect(first).toMatch(/:1@board:main$/);
    expect(mutation.id).toMatch(/:2@board:main$/);
    expect(seen).toMatchObject([{ attempt: 1, current: { title: "A" }, error: { code: "conflict" } }]);
    expect(server.record(BOARD, "cards", "a")?.title).toBe("A and mine");
    expect(board.get("cards", "a")?.title).toBe("A and mine");
    expect(rejected).not.toHaveBeenCalled();
    expect(() => seen[0]?.retry(() => {})).toThrow(/over/);
  });

  it("may let the change go", async () => {
    const { server, board } = await ready();
    server.judge = () => CONFLICT;
    const asked = vi.fn();
    const error = await refusal(board.set("cards", "a", { title: "x" }, { require: [{ exists: ["cards", "a"] }], onConflict: asked }));
    expect(error.code).toBe("conflict");
    expect(asked).toHaveBeenCalledTimes(1);
  });

  it("is asked 16 times at most", async () => {
    const { server, board } = await ready();
    server.judge = () => CONFLICT;
    const require = [{ exists: ["cards", "a"] }] as const;
    const asked = vi.fn(({ retry }: Conflict<Board>) => retry((tx) => tx.set("cards", "a", { title: "x" }), { require }));
    const error = await refusal(board.set("cards", "a", { title: "x" }, { require, onConflict: asked }));
    expect(error.code).toBe("conflict");
    expect(asked).toHaveBeenCalledTimes(16);
  });

  it("that throws, or retries with what cannot be made, ends the mutation", async () => {
    const { server, board } = await ready();
    server.judge = () => CONFLICT;
    const report = vi.spyOn(console, "error").mockImplementation(() => {});
    const require = [{ exists: ["cards", "a"] }] as const;
    const thrown = board.set("cards", "a", { title: "x" }, {
      require,
      onConflict: () => {
        throw new Error("from the application");
      },
    });
    expect((await refusal(thrown)).code).toBe("conflict");
    const wrong = board.set("cards", "a", { title: "x" }, {
      require,
      onConflict: ({ retry }) => retry((tx) => tx.set("cards", "a", { position: Number.NaN })),
    });
    expect((await refusal(wrong)).code).toBe("invalid");
    report.mockRestore();
  });
});

describe("a mutation that was not sent", () => {
  it("can be taken back, before and after the core is loaded", async () => {
    const { server, client, board } = setup();
    const early = board.put("cards", "x", card());
    expect(early.cancel()).toBe(true);
    expect(early.status).toBe("cancelled");
    expect(early.cancel()).toBe(false);
    expect((await refusal(early)).code).toBe("cancelled");
    await board.ready();
    const late = board.set("cards", "a", { title: "sent" });
    await late.committed;
    expect(late.cancel()).toBe(false);

    server.cut();
    await until(() => client.connection.state !== "connected");
    const offline = board.set("cards", "a", { title: "offline" });
    const kept = board.set("cards", "b", { title: "kept" });
    expect(board.get("cards", "a")?.title).toBe("offline");
    expect(offline.cancel()).toBe(true);
    // Told once the store has it; the view is the earlier one at once.
    expect(board.get("cards", "a")?.title).toBe("sent");
    expect(board.pending("cards", "a")).toBe(false);
    await until(() => offline.status === "cancelled");
    client.connect();
    await kept.committed;
    expect(pushed(server.frames("push"))).toEqual([[1, "a"], [2, "noop"], [3, "b"]]);
  });

  it("gives way to a newer one with the same key", async () => {
    const { server, client, board } = await ready();
    server.cut();
    await until(() => client.connection.state !== "connected");
    const steps = [1, 2, 3].map((position) => board.set("cards", "a", { position }, { coalesce: "drag" }));
    expect(board.get("cards", "a")?.position).toBe(3);
    await until(() => steps[1]?.status === "cancelled");
    expect(steps.map((step) => step.status)).toEqual(["cancelled", "cancelled", "queued"]);
    client.connect();
    await steps[2]?.committed;
    expect(pushed(server.frames("push"))).toEqual([[1, "noop"], [2, "noop"], [3, "a"]]);
  });

  it("expires, and says so", async () => {
    const { server, client, board } = await ready();
    server.cut();
    await until(() => client.connection.state !== "connected");
    const expired: string[] = [];
    board.on("expired", ({ error }) => expired.push(error.code));
    const late = board.set("cards", "a", { title: "late" }, { ttlMs: 20 });
    expect((await refusal(late)).code).toBe("expired");
    expect(expired).toEqual(["expired"]);
    expect(board.get("cards", "a")?.title).toBe("A");
  });

  it("fails with the one that it comes after", async () => {
    const { server, client, board } = await ready();
    server.cut();
    await until(() => client.connection.state !== "connected");
    const first = board.set("cards", "a", { title: "first" });
    const second = board.batch((tx) => tx.set("cards", "b", { title: "second" }), { after: first });
    first.cancel();
    expect((await refusal(second)).code).toBe("dep_failed");
    expect(board.get("cards", "b")?.title).toBe("B");
    const other = client.channel<Board>("board:other");
    expect(() => other.delete("cards", "a", { after: first })).toThrow(/same channel/);
  });
});

describe("a mutation that comes after another one", () => {
  it("says so when both are sent, also from before the core was loaded", async () => {
    const { server, board } = setup();
    const first = board.put("cards", "x", card());
    const second = board.set("cards", "x", { title: "y" }, { after: first });
    await second.committed;
    const items = server.frames("push").flatMap((push) => push.items as Record<string, any>[]);
    expect(items.map((item) => Number(item.after ?? 0))).toEqual([0, 1]);
    const third = board.set("cards", "x", { title: "z" }, { after: first });
    await third.committed;
    expect(server.frames("push").at(-1)?.items[0].after ?? 0).toBe(0);
  });
});

it("what was made just before close still goes out", async () => {
  const { server, client, board } = await ready();
  const before = server.messages;
  board.set("cards", "a", { title: "last words" });
  client.close();
  expect(server.messages).toBe(before + 1);
});
