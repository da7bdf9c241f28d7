/**
 * tidewire: application state that stays in sync in real time.
 *
 * Importing this does nothing, and neither does `createClient`: the wasm is loaded and the connection
 * opened when a channel is first used. This entry is for workerd, which
 * compiles no bytes at run time and takes the wasm as a module of the program.
 */

import type { Client } from "./client.js";
import { makeClient } from "./make-client.js";
import type { ClientOptions } from "./types.js";
import { wasmModule } from "./wasm-module.js";

export * from "./exports.js";

/** Makes a client. Errors: `invalid_url`. */
export function createClient(options: ClientOptions): Client {
  return makeClient(options, wasmModule);
}
