/** What the entries share: they differ in where they find the wasm. */

import type { Names } from "./checks.js";
import { checkFunction, checkKnown, checkOptions } from "./checks.js";
import { Client } from "./client.js";
import { TidewireError } from "./errors.js";
import type { FindWasm } from "./load.js";
import type { ClientOptions, Transport } from "./types.js";
import { socketUrl } from "./url.js";

const OPTIONS: Names<ClientOptions> = { url: 1, token: 1, transports: 1, WebSocket: 1, fetch: 1, wasm: 1, retry: 1 };
const TRANSPORTS: Record<Transport, 1> = { websocket: 1, sse: 1, "long-poll": 1 };
const RETRY: Names<NonNullable<ClientOptions["retry"]>> = { baseMs: 1, maxMs: 1, attempts: 1 };

/** A client that asks `findWasm` when it is first used, unless its options say. Errors: `invalid_url`, `invalid`. */
export function makeClient(options: ClientOptions, findWasm: FindWasm): Client {
  checkOptions("createClient", options, OPTIONS);
  const { url, token, transports, WebSocket, fetch, retry } = options;
  if (typeof url !== "string" && typeof (url as { href?: unknown } | undefined)?.href !== "string") {
    throw new TidewireError("invalid_url", `createClient takes the server's URL as url, not ${typeof url}: write for example "https://example.org"`);
  }
  if (token !== undefined && typeof token !== "string") checkFunction("token, unless it is text,", token);
  if (WebSocket !== undefined) checkFunction("WebSocket", WebSocket);
  if (fetch !== undefined) checkFunction("fetch", fetch);
  if (transports !== undefined) {
    if (!Array.isArray(transports) || transports.length === 0) {
      throw new TidewireError("invalid", `transports is ${String(transports)}: it lists ${Object.keys(TRANSPORTS).join(", ")}, or some of them`);
    }
    for (const transport of transports) checkKnown("a transport", transport, TRANSPORTS);
  }
  if (retry !== undefined) {
    checkOptions("retry", retry, RETRY);
    for (const [name, value] of Object.entries(retry)) {
      if (value !== undefined && !(typeof value === "number" && value >= 0)) {
        throw new TidewireError("invalid", `retry.${name} is ${String(value)}: it takes a number that is not negative`);
      }
    }
  }
  // A relative URL can only be judged where there is a page, so not while rendering on a server.
  if (String(url).includes("://")) socketUrl(url);
  return new Client(options, findWasm);
}
