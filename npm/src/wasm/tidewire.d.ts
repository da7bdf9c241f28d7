// What the generated module exports, as far as the facade uses it. `tests/boundary.test.ts` compares
// this with the generated declarations, so that the TypeScript builds without the wasm. Published are
// these: the generated ones need names that not every program's library has.

import type { Http } from "../http.js";
import type { WasmSource } from "../types.js";

export class Client {
  constructor(
    url: string,
    websocket: Function | null | undefined,
    http: Http,
    transports: string[],
    flush: Function,
    entropy: Uint8Array,
    retry_delay_base_ms: number,
    retry_delay_max_ms: number,
    retries_max: number,
  );
  free(): void;
  connect(): void;
  close(): void;
  subscribe(name: string): number;
  status(channel: number): any[] | undefined;
  pause(channel: number): void;
  resume(channel: number): void;
  start_over(channel: number): void;
  unsubscribe(channel: number): void;
  mutate(
    channel: number,
    words: string[],
    ttl_ms?: number | null,
    after?: number | null,
    coalesce_key?: string | null,
  ): number;
  cancel(handle: number): boolean;
  client_id(): string | undefined;
  record(channel: number, collection: string, id: string): string | undefined;
  follow(channel: number, collection?: string | null, id?: string | null): void;
  has(channel: number, collection: string, id: string): boolean;
  ids(channel: number, collection: string): any[];
  is_pending(channel: number, collection: string, id: string): boolean;
  set_presence(channel: number, data?: string | null): void;
  peers(channel: number): any[];
  cursor(channel: number): any[] | undefined;
  principal(): string | undefined;
  token(token: string): void;
  token_failed(retryable: boolean, detail: string): void;
  chunk(conn: number, bytes: Uint8Array): void;
  stream_closed(conn: number, detail: string): void;
  response(
    conn: number,
    request: number,
    status: number,
    retry_after_ms: number,
    unheld: boolean,
    body: Uint8Array,
    detail: string,
  ): void;
  probed(probe: number, found: string): void;
  network(hint: string): void;
}

export default function init(source: {
  module_or_path: Awaited<WasmSource>;
}): Promise<unknown>;
