import { describe, expect, it } from "vitest";

import type { Board } from "./support/board.js";
import { BOARD, card, ready, setup } from "./support/board.js";
import { arrive } from "./support/until.js";

/** The core tells only of records that were read or are watched; nobody may notice. */
describe("a change that somebody else made", () => {
  it("is found by whoever reads, however often and late", async () => {
    const { server, board } = await ready();
    for (const title of ["one", "two", "three"]) {
      server.merge(BOARD, "cards", "a", { title });
      server.merge(BOARD, "cards", "b", { title });
      await arrive();
      expect(board.get("cards", "a")?.title).toBe(title);
    }
    expect(board.get("cards", "b")?.title).toBe("three");
    server.remove(BOARD, "cards", "b");
    await arrive();
    expect(board.get("cards", "b")).toBeUndefined();
    server.put(BOARD, "cards", "b", { ...card({ title: "again" }) });
    await arrive();
    expect(board.get("cards", "b")?.title).toBe("again");
  });

  it("wakes a watcher each time, although it reads nothing", async () => {
    const { server, board } = await ready();
    const woken = { record: 0, absent: 0, collection: 0, other: 0 };
    board.watch("cards", "a", () => woken.record++);
    board.watch("cards", "n", () => woken.absent++);
    board.watch("columns", () => woken.collection++);
    const stop = board.watch("cards", "b", () => woken.other++);
    stop();
    for (const title of ["one", "two", "three"]) {
      server.merge(BOARD, "cards", "a", { title });
      server.merge(BOARD, "cards", "b", { title });
      server.put(BOARD, "cards", "n", { ...card({ title }) });
      server.put(BOARD, "columns", title, { title });
      await arrive();
    }
    expect(woken).toEqual({ record: 3, absent: 3, collection: 3, other: 0 });
  });

  it("is in ids and selections that were read before, whatever was read of their records", async () => {
    const { server, board } = await ready();
    expect(board.ids("cards")).toEqual(["a", "b"]);
    server.put(BOARD, "cards", "c", { ...card() });
    server.put(BOARD, "columns", "todo", { title: "To do" });
    await arrive();
    expect(board.ids("cards")).toEqual(["a", "b", "c"]);
    expect(board.select("columns").map((column) => column.title)).toEqual(["To do"]);
    server.merge(BOARD, "columns", "todo", { title: "Later" });
    server.remove(BOARD, "cards", "a");
    await arrive();
    expect(board.ids("cards")).toEqual(["b", "c"]);
    expect(board.select("columns").map((column) => column.title)).toEqual(["Later"]);
  });

  it("is told to who listens to every change, from then on", async () => {
    const { server, board } = await ready();
    server.merge(BOARD, "cards", "a", { title: "unheard" });
    await arrive();
    const told: string[] = [];
    board.on("change", (records) => told.push(...records.map(({ collection, id }) => `${collection}/${id}`)));
    server.merge(BOARD, "cards", "b", { title: "heard" });
    server.put(BOARD, "columns", "new", { title: "heard" });
    await arrive();
    expect(told.sort()).toEqual(["cards/b", "columns/new"]);
  });

  it("wakes those who watched before the channel was open, and after it was let go and opened anew", async () => {
    const { server, board, client } = setup();
    const woken: string[] = [];
    board.watch("cards", "a", () => woken.push(board.get("cards", "a")?.title ?? "none"));
    const told: number[] = [];
    board.on("change", (records) => told.push(records.length));
    await board.ready();
    await arrive();
    server.merge(BOARD, "cards", "a", { title: "first" });
    await arrive();
    expect(woken.at(-1)).toBe("first");
    expect(told.at(-1)).toBe(1);
    board.close();
    const again = client.channel<Board>(BOARD);
    const seen: string[] = [];
    again.watch("cards", "a", () => seen.push(again.get("cards", "a")?.title ?? "none"));
    await again.ready();
    server.merge(BOARD, "cards", "a", { title: "second" });
    await arrive();
    expect(seen.at(-1)).toBe("second");
  });
});
