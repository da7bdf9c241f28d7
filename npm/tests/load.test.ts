import { readFile } from "node:fs/promises";

import { describe, expect, it, vi } from "vitest";

import { BOARD, boardServer } from "./support/board.js";

const wasm = new URL("../dist/wasm/tidewire_bg.wasm", import.meta.url);

/** The module is loaded once per page, so each case gets a page of its own. */
async function freshPage(): Promise<typeof import("../dist/index.js")> {
  vi.resetModules();
  return import("../dist/index.js");
}

describe("the wasm", () => {
  it("that cannot be loaded is a typed error, and the next use tries again", async () => {
    const { createClient, TidewireError } = await freshPage();
    const server = boardServer();
    const sources = [new Uint8Array([1, 2, 3, 4]), await readFile(wasm)];
    const options = {
      url: "http://tide.test",
      WebSocket: server.WebSocket,
      get wasm() {
        return sources.shift() as BufferSource;
      },
    };
    const client = createClient(options);
    const board = client.channel<{ cards: { title: string } }>(BOARD);
    const early = board.set("cards", "a", { title: "early" });
    const error = await board.ready().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TidewireError);
    expect(error).toMatchObject({
      code: "wasm_load_failed",
      retryable: true,
      cause: expect.any(WebAssembly.CompileError),
      message: expect.stringContaining("wasm-unsafe-eval"),
    });
    expect(board.status).toBe("failed");
    expect(client.connection).toMatchObject({ state: "closed", reason: { code: "wasm_load_failed" } });
    await expect(early.committed).rejects.toMatchObject({ code: "wasm_load_failed" });
    client.connect();
    await expect.poll(() => board.status).toBe("live");
    client.close();
  });

  it.each([
    ["bytes", async () => readFile(wasm)],
    ["a compiled module", async () => WebAssembly.compile(await readFile(wasm))],
    ["a response", async () => new Response(await readFile(wasm), { headers: { "content-type": "application/wasm" } })],
    ["a URL", async () => `data:application/wasm;base64,${(await readFile(wasm)).toString("base64")}`],
  ])("can be given as %s", async (_, source) => {
    const { createClient } = await freshPage();
    const server = boardServer();
    const client = createClient({ url: "http://tide.test", WebSocket: server.WebSocket, wasm: await source() });
    await client.channel(BOARD).ready();
    client.close();
  });
});
