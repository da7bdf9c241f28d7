/** The one error type of tidewire, and how callbacks of the application are kept from breaking it. */

/** Names that `TidewireError.code` may have. The server may know more: never branch on the message. */
export type ErrorCode =
  // The call itself.
  | "closed"
  | "invalid"
  | "invalid_channel"
  | "invalid_url"
  | "queue_full"
  | "too_large"
  | "too_many_subscriptions"
  // The platform.
  | "wasm_load_failed"
  | "websocket_missing"
  | "internal"
  // `tidewire/debug`.
  | "protobuf_missing"
  // `tidewire/testing`.
  | "server_missing"
  | "server_failed"
  // The server's answer to a mutation.
  | "cancelled"
  | "conflict"
  | "dep_failed"
  | "expired"
  | "forbidden"
  | "indeterminate"
  | "lost"
  | "not_found"
  | "refused"
  // The connection.
  | "gave_up"
  | "going_away"
  | "heartbeat_timeout"
  | "network"
  | "suspended"
  | "token"
  | "token_expired"
  | "unauthenticated"
  | (string & {});

/** Everything that tidewire throws or rejects with. */
export class TidewireError extends Error {
  override readonly name = "TidewireError";
  /** A stable name to branch on; `docs/errors.md` says what each means and what to do. */
  readonly code: ErrorCode;
  /** Whether the same call may succeed later, unchanged. */
  readonly retryable: boolean;
  /** For a rejected mutation: the record that its precondition is about, as the server has it; without one, and of a single record, the record as it looks now. */
  readonly current?: unknown;

  constructor(
    code: ErrorCode,
    message: string,
    options: { retryable?: boolean; cause?: unknown; current?: unknown } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.retryable = options.retryable ?? false;
    if (options.current !== undefined) this.current = options.current;
  }
}

/**
 * Calls into the core. It throws `[code, message, retryable]`; anything else means that the module
 * itself stopped, which no later call can mend.
 */
export function callCore<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    if (Array.isArray(thrown)) {
      const [code, message, retryable] = thrown as [string, string, boolean];
      throw new TidewireError(code, message, { retryable });
    }
    throw new TidewireError(
      "internal",
      "the core of tidewire stopped: create a new client, and please report this with its cause",
      { cause: thrown },
    );
  }
}

/** A callback of the application threw: say so where uncaught errors are said, and go on. */
export function reportUncaught(thrown: unknown): void {
  const scope = globalThis as { reportError?: (error: unknown) => void };
  if (typeof scope.reportError === "function") scope.reportError(thrown);
  else console.error("uncaught error in a tidewire callback:", thrown);
}
