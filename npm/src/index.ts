/**
 * tidewire: application state that stays in sync in real time.
 *
 * Importing this does nothing, and neither does `createClient`: the wasm is loaded and the connection
 * opened when a channel is first used.
 */

import { Client } from "./client.js";
import type { ClientOptions } from "./types.js";
import { socketUrl } from "./url.js";

/** Makes a client. Errors: `invalid_url`. */
export function createClient(options: ClientOptions): Client {
  // A relative URL can only be judged where there is a page, so not while rendering on a server.
  if (String(options.url).includes("://")) socketUrl(options.url);
  return new Client(options);
}

export type { Channel } from "./channel.js";
export type { Client } from "./client.js";
export type { ErrorCode } from "./errors.js";
export { TidewireError } from "./errors.js";
export type { Presence } from "./presence.js";
export type {
  ChannelEvents,
  ChannelStatus,
  ClientEvents,
  ClientOptions,
  CollectionName,
  Conflict,
  Connection,
  Cursor,
  FieldName,
  FieldsOf,
  Frozen,
  MutateOptions,
  Mutation,
  MutationStatus,
  NumberField,
  Peer,
  Precondition,
  RecordKey,
  RecordOf,
  SelectOptions,
  SortKey,
  TokenSource,
  WasmSource,
  Writer,
} from "./types.js";
