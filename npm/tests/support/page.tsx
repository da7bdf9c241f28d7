// A page in which components render against a server in this process.

import { readFile } from "node:fs/promises";

import { act, cleanup } from "@testing-library/react";
import type { ReactNode } from "react";
import { StrictMode } from "react";
import { onTestFinished } from "vitest";

import type { Channel } from "../../dist/index.js";
import { createClient } from "../../dist/index.js";
import { TidewireProvider, useChannel } from "../../dist/react.js";
import type { Board, Pointer, Setup } from "./board.js";
import { BOARD, boardServer } from "./board.js";

// A page would fetch it; this one has no server.
export const wasm: WebAssembly.Module = await WebAssembly.compile(
  await readFile(`${import.meta.dirname}/../../dist/wasm/tidewire_bg.wasm`),
);

export interface Page extends Setup {
  wrapper: (props: { children: ReactNode }) => ReactNode;
}

/** A client of a server that has the cards `a` and `b`, and what provides it; nothing is opened. */
export function page(strict = true): Page {
  const server = boardServer();
  const client = createClient({ url: "http://tide.test", token: "dev:ana", WebSocket: server.WebSocket, wasm });
  onTestFinished(() => {
    cleanup();
    client.close();
  });
  const wrapper = ({ children }: { children: ReactNode }): ReactNode => {
    const inner = <TidewireProvider client={client}>{children}</TidewireProvider>;
    return strict ? <StrictMode>{inner}</StrictMode> : inner;
  };
  return { server, client, board: client.channel<Board, Pointer>(BOARD), wrapper };
}

/** Waits inside `act` until a condition holds, at most 8 seconds by a clock that no test replaces. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = process.hrtime.bigint() + 8_000_000_000n;
  while (!condition() && process.hrtime.bigint() < deadline) {
    await act(() => new Promise<void>((resolve) => setImmediate(resolve)));
  }
  if (!condition()) throw new Error("the condition did not come true");
}

export const useBoard = (): Channel<Board, Pointer> => useChannel<Board, Pointer>(BOARD);
