/**
 * tidewire: application state that stays in sync in real time.
 *
 * Importing this does nothing, and neither does `createClient`: the wasm is loaded and the connection
 * opened when a channel is first used. This entry carries the wasm
 * in its script, for Node and for wherever a second file is in the way.
 */

import type { Client } from "./client.js";
import { makeClient } from "./make-client.js";
import type { ClientOptions } from "./types.js";
import { inlineWasm } from "./wasm-inline.js";

export * from "./exports.js";

/** Makes a client. Errors: `invalid_url`. */
export function createClient(options: ClientOptions): Client {
  return makeClient(options, inlineWasm);
}
