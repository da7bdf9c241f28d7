// Over a real socket, with the constructor that Node 20 needs.

import type { AddressInfo, Server, Socket } from "node:net";
import { createServer } from "node:net";

import { describe, expect, it, onTestFinished } from "vitest";
import { WebSocket, WebSocketServer } from "ws";

import type { TidewireError } from "../dist/index.js";
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

  it("tells what the platform said of each way to fail", async () => {
    const answer = (head: string) => (socket: Socket) => void socket.end(`HTTP/1.1 ${head}\r\ncontent-length: 0\r\n\r\n`);
    const listening = async (server: Server): Promise<number> => {
      onTestFinished(() => void server.close());
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return (server.address() as AddressInfo).port;
    };
    const free = createServer();
    const nobody = await listening(free);
    await new Promise((resolve) => free.close(resolve));
    const missing = await listening(createServer(answer("404 Not Found")));
    const moved = await listening(createServer(answer("301 Moved Permanently\r\nlocation: https://tide.test/")));
    const wordless = await listening(createServer((socket) => void socket.destroy()));
    const said = async (port: number): Promise<string> => {
      const retry = { attempts: 0, baseMs: 1 };
      const client = createClient({ url: `http://127.0.0.1:${port}`, token: "dev:ana", WebSocket, retry, transports: ["websocket"] });
      onTestFinished(() => client.close());
      const error = await client.channel(BOARD).ready().then(() => undefined, (thrown: TidewireError) => thrown);
      expect(error).toMatchObject({ code: "gave_up", cause: { code: "network" } });
      return (error?.cause as Error).message;
    };
    expect(await said(nobody)).toContain("ECONNREFUSED");
    expect(await said(missing)).toContain("404");
    expect(await said(moved)).toContain("301");
    expect(await said(wordless)).toContain("socket hang up");
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
