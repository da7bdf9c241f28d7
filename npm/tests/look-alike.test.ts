// @vitest-environment happy-dom

import { expect, it } from "vitest";

import { createClient } from "../dist/inline.js";
import { BOARD, boardServer } from "./support/board.js";

it("the wasm inside loads where a test suite put its own classes in place of the platform's", async () => {
  const look = new Response("", { headers: { "content-type": "application/wasm" } });
  await expect(WebAssembly.compileStreaming(look)).rejects.toThrow("Response");
  const server = boardServer();
  const client = createClient({ url: "http://tide.test", WebSocket: server.WebSocket });
  await client.channel(BOARD).ready();
  client.close();
});
