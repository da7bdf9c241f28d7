/** The wasm's side of the boundary in TypeScript's words; `sdk-wasm/src/convert.rs` is its mirror. */

export type { Client as Core } from "./wasm/tidewire.js";

import type { ChannelStatus, Connection, MutationStatus } from "./types.js";

/** Code, text and retryability; absent when nothing is wrong. */
export type CoreReason = [] | [code: string, detail: string, retryable: boolean];

/** Why, and why that. */
export type CoreWhy = [code: string, detail: string, retryable: boolean, ...cause: [] | [code: string, detail: string, retryable: boolean]];

/** Why a mutation was rejected, and with preconditions the record that it is about, as JSON text. */
export type CoreRefusal = CoreReason | [code: string, detail: string, retryable: boolean, current: string | undefined];

export type CoreCursor = [epoch: number, seq: number, tag: number];

/** What `status` gives. */
export type CoreStatus = [status: ChannelStatus, ...CoreReason];

/** One entry of what a flush hands over. */
export type CoreEvent =
  | ["connection", state: Connection["state"], transport: Connection["transport"], since: number, ...([] | CoreWhy)]
  | ["channel", channel: number, status: ChannelStatus, ...CoreReason]
  | ["changed", channel: number, keys: string[]]
  | ["recovered", channel: number, by: "resumed" | "replayed" | "snapshot", entries: number]
  | ["history_lost", channel: number, from: CoreCursor, to: CoreCursor]
  | ["mutation", channel: number, handle: number, status: MutationStatus, n: number | undefined, ...CoreRefusal]
  | ["presence", channel: number]
  | ["warning", channel: number | undefined, code: string, detail: string, retryable: boolean]
  | ["token"];
