import { onTestFinished } from "vitest";

import type { Channel, Client, ClientOptions } from "../../dist/index.js";
import { createClient } from "../../dist/index.js";
import { FakeServer } from "./server.js";

export interface Card {
  title: string;
  column: string;
  position: number;
  votes?: number;
  tags?: string[];
  author?: { name: string };
}

export interface Board {
  cards: Card;
  columns: { title: string };
}

export interface Pointer {
  x: number;
  y: number;
}

export const BOARD = "board:main";

export interface Setup {
  server: FakeServer;
  client: Client;
  board: Channel<Board, Pointer>;
}

/** A client of a server that has the cards `a` and `b`; nothing is opened. Closed when the test ends. */
export function setup(options: Partial<ClientOptions> = {}, server: FakeServer = boardServer()): Setup {
  const only = { WebSocket: server.WebSocket, transports: ["websocket"] } as const;
  const client = createClient({ url: "http://tide.test", token: "dev:ana", ...only, ...options });
  onTestFinished(() => client.close());
  return { server, client, board: client.channel<Board, Pointer>(BOARD) };
}

/** The same, with the first view there. */
export async function ready(options: Partial<ClientOptions> = {}): Promise<Setup> {
  const made = setup(options);
  await made.board.ready();
  return made;
}

export function boardServer(): FakeServer {
  const server = new FakeServer();
  server.put(BOARD, "cards", "a", { title: "A", column: "todo", position: 1 });
  server.put(BOARD, "cards", "b", { title: "B", column: "todo", position: 2 });
  return server;
}

export function card(fields: Partial<Card> = {}): Card {
  return { title: "new", column: "todo", position: 9, ...fields };
}
