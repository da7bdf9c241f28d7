// Over a real socket, with the constructor that Node 20 needs.

import type { AddressInfo } from "node:net";

import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket, WebSocketServer } from "ws";

import { createClient } from "../dist/index.js";
import { FakeServer, FakeSocket } from "./support/server.js";
import { BOARD, boardServer } from "./support/board.js";
import type { Board } from "./support/board.js";
import { until } from "./support/until.js";

/** A server's end of a real socket, behind the interface of the look-alike. */
class RealEnd extends FakeSocket {
  readonly #socket: WebSocket;

  constructor(server: FakeServer, socket: WebSocket) {
    super(server, "", []);
    this.#socket = socket;
    this.readyState = 1;
    this.onmessage = ({ data }) => socket.send(data as ArrayBuffer);
    socket.on("message", (data: Buffer) => this.send(new Uint8Array(data)));
    socket.on("close", () => server.gone(this));
  }

  override drop(code: number): void {
    super.drop(code, "");
    this.#socket.terminate();
  }
}

async function listen(): Promise<{ fake: FakeServer; listener: WebSocketServer; url: string }> {
  const fake = boardServer();
  const listener = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: (offered) => [...offered][0] ?? false });
  onTestFinished(() => {
    for (const client of listener.clients) client.terminate();
    listener.close();
  });
  listener.on("connection", (socket) => void new RealEnd(fake, socket));
  await new Promise((resolve) => listener.once("listening", resolve));
  return { fake, listener, url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}` };
}

describe("over the ws package", () => {
  it("joins, edits, survives a cut, and leaves no socket behind", async () => {
    const { fake, listener, url } = await listen();
    const client = createClient({ url, token: "dev:ana", WebSocket, retry: { baseMs: 1, maxMs: 5 } });
    const board = client.channel<Board>(BOARD);
    await board.ready();
    expect([...listener.clients][0]?.protocol).toBe("tidewire.v1.proto");
    await board.set("cards", "a", { title: "ü😀" }).committed;
    expect(fake.record(BOARD, "cards", "a")?.title).toBe("ü😀");
    // Told, not looked for: the pause until the next attempt may be over before anybody looks.
    const states: string[] = [];
    client.on("connection", ({ state }) => states.push(state));
    fake.cut();
    await until(() => states.includes("waiting"));
    await board.set("cards", "a", { title: "again" }).committed;
    client.close();
    await until(() => listener.clients.size === 0);
  });

  it("may be closed while it connects, or while nobody answers, without an uncaught error", async () => {
    const { listener, url } = await listen();
    const uncaught: unknown[] = [];
    const note = (error: unknown): unknown => uncaught.push(error);
    process.on("uncaughtException", note);
    onTestFinished(() => void process.off("uncaughtException", note));
    const client = createClient({ url, token: "dev:ana", WebSocket });
    client.connect();
    await until(() => client.connection.transport === "websocket");
    client.close();
    await new Promise((resolve) => listener.close(resolve));
    const refused = createClient({ url, token: "dev:ana", WebSocket, retry: { attempts: 0, baseMs: 1 } });
    const board = refused.channel(BOARD);
    await expect(board.ready()).rejects.toMatchObject({ code: "gave_up" });
    refused.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect(uncaught).toEqual([]);
  });
});
