/** Types of the public API. */

import type { TidewireError } from "./errors.js";

/** The names of a schema's collections. A schema maps them to record types: `{ cards: Card }`. */
export type CollectionName<S> = Extract<keyof S, string>;

/** What a field may hold: what JSON can say comes back as it was given. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };

/** The schema of a channel that was given none: any collections, of records with any fields. */
export type AnySchema = Record<string, Record<string, Json>>;

/** What JSON says of itself; the name of a type that it cannot say is its explanation. */
type AsJson<T> = unknown extends T
  ? T
  : [T] extends [Json | undefined]
    ? T
    : T extends string | number | boolean | null | undefined
      ? T
      : T extends bigint
        ? "a bigint is read as a number: declare the field as number"
        : T extends symbol
          ? "JSON has no symbols"
          : T extends (...args: never[]) => unknown
            ? "JSON has no functions"
            : T extends Date
              ? "JSON has no Date: keep milliseconds, or text"
              : T extends ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | ArrayBufferView | ArrayBuffer | RegExp | PromiseLike<unknown>
                ? "JSON has no such object: keep plain objects and arrays"
                : T extends readonly unknown[]
                  ? { [K in keyof T]: undefined extends T[K] ? (unknown extends T[K] ? T[K] : "JSON has no undefined in arrays: use null") : AsJson<T[K]> }
                  : T extends object
                    ? { [K in keyof T]: AsJson<T[K]> }
                    : never;

/**
 * What a schema must be: collections of records whose fields JSON can say. Where one is not, the compiler
 * names the field. Types that are `unknown` are looked at when they are written.
 */
export type JsonSchema<S> = { [C in keyof S]: { [F in keyof S[C]]: AsJson<S[C][F]> } };

/** Read-only all the way down, which is what records are at run time. */
export type Frozen<T> = Json extends T
  ? T
  : T extends (...args: never[]) => unknown
    ? T
    : T extends object
      ? { readonly [K in keyof T]: Frozen<T[K]> }
      : T;

/**
 * A record as it is read: deeply frozen, with its id. Unless the record has a field of that name,
 * `id` is not enumerable, so spreading a record gives its fields and nothing else.
 */
export type RecordOf<S, C extends CollectionName<S>> = S[C] extends { id: unknown }
  ? Frozen<S[C]>
  : Frozen<S[C]> & { readonly id: string };

/**
 * A record's fields as they are written. A declared `id: string` may be left out: the id is known. Where a number is
 * read, a `bigint` may be written: a whole number of 64 bits, of which reading shows what a number holds.
 */
export type FieldsOf<R> = R extends { id: string } ? Written<Omit<R, "id">> & { id?: string } : Written<R>;

type Written<R> = { [F in keyof R]: number extends R[F] ? R[F] | bigint : R[F] };

/** The names of a record's fields. */
export type FieldName<R> = Extract<keyof R, string>;

/** The names of the fields that `increment` takes. */
export type NumberField<R> = string extends keyof R
  ? string
  : {
      [K in FieldName<R>]-?: NonNullable<R[K]> extends number ? K : never;
    }[FieldName<R>];

/** What a record can be sorted by; absent and `null` come last. */
export type SortKey = string | number | bigint | boolean | Date | null | undefined;

/** Which records of a collection, in which order. */
export interface SelectOptions<R> {
  /**
   * Which ones: a predicate that depends on the record alone, or fields and the values they must
   * have. Keep a predicate's identity stable (outside of render, or `useCallback`): a new one means
   * a new selection.
   */
  readonly filter?: ((record: R) => boolean) | Partial<R> | undefined;
  /** A field's name, or a function from a record to its key. Ties, and no `sortBy`, go by id. */
  readonly sortBy?: FieldName<R> | ((record: R) => SortKey) | undefined;
  /** Largest first. */
  readonly descending?: boolean | undefined;
}

/** What changes records: a channel, or inside `batch` one mutation. `M` is what each call returns. */
export interface Writer<S extends object, M> {
  /** Sets some fields of an existing record; others stay. */
  set<C extends CollectionName<S>>(collection: C, id: string, fields: Partial<FieldsOf<S[C]>>): M;
  /** Creates a record, or replaces all of it. */
  put<C extends CollectionName<S>>(collection: C, id: string, fields: FieldsOf<S[C]>): M;
  /** Removes fields of an existing record. */
  unset<C extends CollectionName<S>>(
    collection: C,
    id: string,
    ...fields: [FieldName<S[C]>, ...FieldName<S[C]>[]]
  ): M;
  /** Removes a record. */
  delete<C extends CollectionName<S>>(collection: C, id: string): M;
  /** Adds an integer to a field; an absent field counts from 0. Increments of several people add up. */
  increment<C extends CollectionName<S>>(
    collection: C,
    id: string,
    field: NumberField<S[C]>,
    by?: number | bigint,
  ): M;
}

/**
 * What must hold when the server decides, or the mutation is rejected with `conflict`. Values are
 * compared as JSON: the order of keys and `1` or `1.0` make no difference.
 */
export type Precondition<S extends object> = {
  [C in CollectionName<S>]:
    | { readonly exists: readonly [collection: C, id: string] }
    | { readonly absent: readonly [collection: C, id: string] }
    | { readonly equal: { [F in FieldName<S[C]>]: readonly [collection: C, id: string, field: F, value: S[C][F]] }[FieldName<S[C]>] }
    /** Nobody else changed the record since `since`; default: since the view as it is now. */
    | { readonly unchanged: readonly [collection: C, id: string]; readonly since?: Cursor | undefined };
}[CollectionName<S>];

/** What a change may ask for besides. */
export interface MutateOptions<S extends object> {
  /**
   * All of it must hold when the server decides. Until then the change shows, whatever these say: the
   * server alone judges.
   */
  readonly require?: readonly Precondition<S>[] | undefined;
  /** How long the change is worth something, in ms from now; then it ends as `expired`. At most 7 days. */
  readonly ttlMs?: number | undefined;
  /** Only if that change of the same channel is committed; else this one is rejected with `dep_failed`. */
  readonly after?: Mutation | undefined;
  /**
   * An older change of the channel with the same key that was not sent yet ends as `cancelled`: of a
   * value that changes all the time only the latest is sent.
   */
  readonly coalesce?: string | undefined;
  /** Called when `require` did not hold. It may `retry`; else the mutation is rejected. */
  readonly onConflict?: ((conflict: Conflict<S>) => void) | undefined;
}

/** A precondition that did not hold. */
export interface Conflict<S extends object> {
  readonly mutation: Mutation;
  /** What `committed` rejects with, unless `retry` is called. */
  readonly error: TidewireError;
  /** The record that the precondition is about, as the server has it; `undefined`: it does not exist. */
  readonly current: Readonly<Record<string, unknown>> | undefined;
  /** 1 for the first conflict of this mutation; after the 16th there is no retry. */
  readonly attempt: number;
  /**
   * Makes the change anew, under another id: the mutation goes on, and so does its `committed`. Only
   * before `onConflict` returns.
   */
  retry(build: (tx: Writer<S, void>) => void, options?: Pick<MutateOptions<S>, "require" | "ttlMs">): void;
}

/** Where a mutation stands (`docs/protocol.md`, "States of a mutation"). */
export type MutationStatus =
  | "queued"
  | "attempted"
  | "accepted"
  | "committed"
  | "rejected"
  /** Its deadline passed before the server decided; nothing of it was applied. */
  | "expired"
  /** It was taken back, or a newer one made it superfluous, before it was sent. */
  | "cancelled"
  /** It was sent, and nobody can say any more whether it was applied. */
  | "indeterminate"
  /** It was committed, and the server's history lost it. */
  | "lost";

/** One requested change, from the call to its one outcome. */
export interface Mutation {
  /** Where it stands now. */
  readonly status: MutationStatus;
  /** Its name for ever, `client:n@channel`; `undefined` until the store has the row. */
  readonly id: string | undefined;
  /** Why it was not committed, once that is known. */
  readonly error: TidewireError | undefined;
  /** Resolves when the server's state contains it; rejects with a `TidewireError`. Need not be awaited. */
  readonly committed: Promise<void>;
  /** Takes it back if it was not sent yet: it shows no longer and ends as `cancelled`. `false`: too late. */
  cancel(): boolean;
  /** Calls back whenever the status changes. Returns how to stop that. */
  subscribe(listener: () => void): () => void;
}

/** Where a channel stands. */
export type ChannelStatus =
  /** Nobody uses it. */
  | "idle"
  /** No view from the server yet, or not all of it. */
  | "loading"
  /** The view is the server's latest. */
  | "live"
  /** There is a view, and the server has, or may have, a newer one. */
  | "stale"
  /** The server refuses the channel, or the client could not start; `error` says why. */
  | "failed"
  /** It was closed. */
  | "closed";

/** A position in a channel's history. */
export interface Cursor {
  readonly epoch: number;
  readonly seq: number;
  readonly tag: number;
}

/** Names a record. */
export interface RecordKey {
  readonly collection: string;
  readonly id: string;
}

/** What a channel tells, by the name that `on` takes. */
export interface ChannelEvents {
  /** These records look different now. */
  change: readonly RecordKey[];
  /** The channel's status changed; `live`, `stale` and `failed` are also told by their own names. */
  status: ChannelStatus;
  live: undefined;
  stale: undefined;
  failed: TidewireError;
  /** The server's state contains a mutation. */
  committed: Mutation;
  /** A mutation was refused and no longer shows. */
  rejected: { readonly mutation: Mutation; readonly error: TidewireError };
  /** A mutation's deadline passed before the server decided; it no longer shows. */
  expired: { readonly mutation: Mutation; readonly error: TidewireError };
  /** A mutation ended before it was sent: it was taken back, replaced by a newer one, or its client or channel was closed. */
  cancelled: { readonly mutation: Mutation; readonly error: TidewireError };
  /** It was sent, and nobody can say any more whether it was applied: look before doing it again. */
  indeterminate: { readonly mutation: Mutation; readonly error: TidewireError };
  /** A mutation was committed, and the server's history lost it. */
  lost: { readonly mutation: Mutation; readonly error: TidewireError };
  /** How the channel caught up after a (re)connect. */
  recovered: { readonly by: "resumed" | "replayed" | "snapshot"; readonly entries: number };
  /** The server's history no longer contains what this client had seen. */
  history_lost: { readonly from: Cursor; readonly to: Cursor };
  /** Who is present changed. */
  presence: undefined;
  /** The server complained about something that ends nothing. */
  warning: TidewireError;
}

/** Somebody else who is on the channel. */
export interface Peer<P = unknown> {
  /** Names the peer's connection. */
  readonly peer: number;
  /** Who the server says it is. */
  readonly principal: string;
  /** What the peer said with `presence.set`. */
  readonly data: Frozen<P>;
}

/** How frames travel: on a WebSocket; down a stream of server-sent events and up in POSTs; or in polls and POSTs. */
export type Transport = "websocket" | "sse" | "long-poll";

/** The life of the connection. A new object for every change. */
export interface Connection {
  readonly state: "idle" | "connecting" | "connected" | "waiting" | "draining" | "closed";
  /** Whether the server hears us: `connected` or `draining`. */
  readonly online: boolean;
  /** Over which transport, once connecting. */
  readonly transport: Transport | undefined;
  /** Since when, in Unix milliseconds. */
  readonly since: number;
  /** Why, if something went wrong. `retryable`: the client tries again by itself. That of `gave_up` has a `cause`. */
  readonly reason: TidewireError | undefined;
}

/** What a client tells, by the name that `on` takes. */
export interface ClientEvents {
  connection: Connection;
  /** The server complained about something that ends nothing and concerns no channel. */
  warning: TidewireError;
}

/** A token, or what fetches one. Called before each connect; a rejection is retried unless it is a `TidewireError` that is not `retryable`. */
export type TokenSource = string | (() => string | Promise<string>);

/** How to get the wasm: by default from beside the package's own files. */
export type WasmSource = string | URL | Response | Promise<Response> | ArrayBuffer | ArrayBufferView | WasmModule;

/** A `WebAssembly.Module`. That name is not known everywhere: Node's types came without it for long. */
export interface WasmModule {}

/** Settings of a client. */
export interface ClientOptions {
  /** The server: `http`, `https`, `ws` or `wss`; in a page also relative to it. `/v1/ws` is added. */
  readonly url: string | URL;
  readonly token?: TokenSource | undefined;
  /**
   * Which transports may be used, the best first; default: all. One that is blocked is joined by the next within 1.5 s,
   * and tried again later.
   */
  readonly transports?: readonly Transport[] | undefined;
  /** The constructor to use instead of the platform's. Node 20 has none, and begins with `sse`: pass the one of `ws`. */
  readonly WebSocket?: (new (url: string, protocols: string[]) => object) | undefined;
  /** The function to use instead of the platform's, for `sse` and `long-poll`. */
  readonly fetch?: typeof fetch | undefined;
  readonly wasm?: WasmSource | undefined;
  /** Delays between attempts to connect are random in 0..min(maxMs, baseMs·2^n). */
  readonly retry?:
    | {
        /** Default 1,000. */
        readonly baseMs?: number | undefined;
        /** Default 30,000. */
        readonly maxMs?: number | undefined;
        /** How many attempts in a row may fail; default: no limit. */
        readonly attempts?: number | undefined;
      }
    | undefined;
}
