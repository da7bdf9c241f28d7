import { describe, expect, it } from "vitest";

import { BOARD, ready, setup } from "./support/board.js";
import { arrive, until } from "./support/until.js";

describe("presence", () => {
  it("shows who else is there, frozen, the same object until it changes", async () => {
    const { server, board } = await ready();
    let changes = 0;
    board.on("presence", () => changes++);
    server.announce(BOARD, 7, "bo", { x: 1, y: 2 });
    server.announce(BOARD, 8, "cy", { x: 0, y: 0 });
    await arrive();
    const [bo, cy] = board.presence.peers;
    expect(bo).toEqual({ peer: 7, principal: "bo", data: { x: 1, y: 2 } });
    expect(Object.isFrozen(bo?.data)).toBe(true);
    expect(board.presence.peers).toBe(board.presence.peers);
    server.announce(BOARD, 8, "cy", { x: 5, y: 5 });
    await arrive();
    expect(board.presence.peers[0]).toBe(bo);
    expect(board.presence.peers[1]).not.toBe(cy);
    server.announce(BOARD, 7, "bo", undefined);
    await arrive();
    expect(board.presence.peers.map((peer) => peer.principal)).toEqual(["cy"]);
    expect(changes).toBe(4);
  });

  it("is said to others, also again after a reconnect, until it is cleared", async () => {
    const server = (await ready()).server;
    const { board } = setup({ token: "dev:bo", retry: { baseMs: 1, maxMs: 2 } }, server);
    board.presence.set({ x: 3, y: 4 });
    await until(() => server.frames("presenceSet").length === 1);
    server.cut();
    await until(() => server.frames("presenceSet").length === 2);
    expect(JSON.parse(Buffer.from(server.frames("presenceSet")[1]?.data).toString())).toEqual({ x: 3, y: 4 });
    board.presence.clear();
    await until(() => server.frames("presenceSet").length === 3);
    expect(server.frames("presenceSet")[2]?.data).toBeUndefined();
  });

  it("that is too large or no JSON is refused in the call", async () => {
    const { board } = await ready();
    const any = board.presence as unknown as { set(data: unknown): void };
    expect(() => any.set("x".repeat(5000))).toThrow(expect.objectContaining({ code: "too_large" }));
    expect(() => any.set(undefined)).toThrow(expect.objectContaining({ code: "invalid" }));
  });
});
