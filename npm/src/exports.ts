/**
 * What every entry exports besides its own `createClient`. All of them, and the adapters, load the same
 * files, so that there is one `TidewireError` whichever of them an application mixes.
 */

export type { Channel } from "./channel.js";
export type { Client } from "./client.js";
export type { ErrorCode } from "./errors.js";
export { TidewireError } from "./errors.js";
export type { Presence } from "./presence.js";
export type {
  AnySchema,
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
  Json,
  JsonSchema,
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
  Transport,
  WasmModule,
  WasmSource,
  Writer,
} from "./types.js";
