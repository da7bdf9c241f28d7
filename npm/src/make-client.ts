/** What the entries share: they differ in where they find the wasm. */

import { Client } from "./client.js";
import type { FindWasm } from "./load.js";
import type { ClientOptions } from "./types.js";
import { socketUrl } from "./url.js";

/** A client that asks `findWasm` when it is first used, unless its options say. Errors: `invalid_url`. */
export function makeClient(options: ClientOptions, findWasm: FindWasm): Client {
  // A relative URL can only be judged where there is a page, so not while rendering on a server.
  if (String(options.url).includes("://")) socketUrl(options.url);
  return new Client(options, findWasm);
}
