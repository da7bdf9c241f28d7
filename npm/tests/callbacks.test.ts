import { describe, expect, it, onTestFinished, vi } from "vitest";

import { BOARD, card, ready } from "./support/board.js";
import { arrive, until } from "./support/until.js";

function reported(): unknown[] {
  const errors: unknown[] = [];
  vi.stubGlobal("reportError", (error: unknown) => errors.push(error));
  onTestFinished(() => void vi.unstubAllGlobals());
  return errors;
}

describe("a callback", () => {
  it("finds the new state, whichever event it is for", async () => {
    const { server, board } = await ready();
    const seen: unknown[] = [];
    board.on("change", (records) => seen.push(records.map(({ collection, id }) => [collection, id, board.get("cards", id)?.title])));
    board.watch("cards", () => seen.push(board.ids("cards").length));
    server.write(
      BOARD,
      { put: { collection: "cards", id: "c", fields: [{ name: "title", value: Buffer.from('"C"') }] } },
      { del: { collection: "cards", id: "b" } },
    );
    await arrive();
    expect(seen).toEqual([
      2,
      [
        ["cards", "b", undefined],
        ["cards", "c", "C"],
      ],
    ]);
  });

  it("may call everything, and is never run inside another", async () => {
    const { server, board, client } = await ready();
    let depth = 0;
    let deepest = 0;
    const order: string[] = [];
    board.on("change", (records) => {
      deepest = Math.max(deepest, ++depth);
      order.push(records.map(({ id }) => id).join());
      if (records.some(({ id }) => id === "c") && board.get("cards", "c")?.votes === undefined) {
        board.set("cards", "c", { votes: 1 });
        board.put("cards", "d", card());
        client.channel("board:other").ready().catch(() => {});
        board.presence.set({ x: 1, y: 1 });
        expect(board.get("cards", "d")?.title).toBe("new");
      }
      depth--;
    });
    server.put(BOARD, "cards", "c", { ...card() });
    await until(() => server.record(BOARD, "cards", "d") !== undefined);
    expect(deepest).toBe(1);
    expect(order.slice(0, 3)).toEqual(["c", "c", "d"]);
    expect(server.record(BOARD, "cards", "c")?.votes).toBe(1);
  });

  it("that throws is reported, and disturbs neither the others nor the connection", async () => {
    const errors = reported();
    const { server, client, board } = await ready();
    const heard: string[] = [];
    board.on("change", () => {
      throw new Error("first");
    });
    board.on("change", () => heard.push("second"));
    board.watch("cards", "a", () => {
      throw new Error("third");
    });
    const mutation = board.set("cards", "a", { title: "x" });
    mutation.subscribe(() => {
      throw new Error("fourth");
    });
    expect(board.get("cards", "a")?.title).toBe("x");
    await mutation.committed;
    server.merge(BOARD, "cards", "a", { title: "y" });
    await arrive();
    expect(heard).toEqual(["second", "second"]);
    expect(new Set(errors.map((error) => (error as Error).message))).toEqual(new Set(["first", "third", "fourth"]));
    expect(client.connection.state).toBe("connected");
  });

  it("may close the channel or the client under everybody", async () => {
    const { server, client, board } = await ready();
    const later: string[] = [];
    board.on("change", () => client.close());
    board.on("status", (status) => later.push(status));
    server.merge(BOARD, "cards", "a", { title: "last" });
    await arrive();
    expect(client.connection.state).toBe("closed");
    expect(board.status).toBe("closed");
    expect(later).toEqual(["closed"]);
    expect(server.open).toEqual([]);
    await arrive();
  });

  it("is not called any more once it was let go, also not for what is on its way", async () => {
    const { board } = await ready();
    const heard: string[] = [];
    const stops: (() => void)[] = [];
    for (const name of ["one", "two"]) {
      stops.push(
        board.on("change", () => {
          heard.push(name);
          for (const stop of stops) stop();
        }),
      );
    }
    await board.set("cards", "a", { title: "x" }).committed;
    expect(heard).toEqual(["one"]);
  });

  it("of a socket may call back from inside its own methods", async () => {
    const { server, board } = await ready();
    // A look-alike that answers before `send` returns.
    const socket = server.sockets[0];
    if (!socket) throw new Error("no socket");
    const send = socket.send.bind(socket);
    socket.send = (data) => {
      const own = board.get("cards", "a");
      expect(own).toBeDefined();
      board.increment("cards", "b", "votes");
      socket.send = send;
      send(data);
    };
    const mutation = board.set("cards", "a", { title: "x" });
    await mutation.committed;
    await until(() => server.record(BOARD, "cards", "b")?.votes === 1);
  });

  it("of a watcher of one record is called for that record alone", async () => {
    const { server, board } = await ready();
    const heard: string[] = [];
    board.watch("cards", "a", () => heard.push("a"));
    board.watch("cards", "b", () => heard.push("b"));
    board.watch("columns", () => heard.push("columns"));
    server.merge(BOARD, "cards", "b", { title: "x" });
    await arrive();
    expect(heard).toEqual(["b"]);
  });
});
