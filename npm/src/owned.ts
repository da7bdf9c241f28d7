/** Clients that a provider owns: made while it renders, closed when it is gone or for somebody else. */

import type { Client } from "./client.js";
import { TidewireError } from "./errors.js";
import { createClient } from "./index.js";
import type { ClientOptions } from "./types.js";
import { LINGER_MS } from "./uses.js";

/** Whom a client is for: another one gets another client. */
export type Identity = string | number | null | undefined;

/**
 * Clients of renders that were not committed yet, in a page only: React forgets the state of a first render that
 * suspends, and renders again. What nobody commits is closed after a while.
 */
const rendered = new Map<string, OwnedClient>();

/** How long a render that suspends may take until the next one. */
const RENDER_MS = 2 * LINGER_MS;

export class OwnedClient {
  readonly client: Client;
  /** Where to, and for whom. */
  readonly key: string;
  /** Those of the latest render: its `token` is the one that is asked. */
  options: ClientOptions;
  /** Closed, since nobody was mounted. */
  ended = false;
  #mounted = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(key: string, options: ClientOptions) {
    this.key = key;
    this.options = options;
    const asks = typeof options?.token === "function";
    this.client = createClient(asks ? { ...options, token: () => this.#token() } : options);
  }

  /** A component that uses it is mounted, until the returned function is called. */
  mount(): () => void {
    clearTimeout(this.#timer);
    if (rendered.get(this.key) === this) rendered.delete(this.key);
    this.#mounted += 1;
    return () => {
      this.#mounted -= 1;
      this.endAfter(LINGER_MS);
    };
  }

  /** Closes it unless somebody mounts until then. */
  endAfter(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#mounted > 0) return;
    this.#timer = setTimeout(() => this.end(), ms);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** Closes it, unless it is mounted elsewhere. */
  end(): void {
    clearTimeout(this.#timer);
    if (this.#mounted > 0) return;
    this.ended = true;
    if (rendered.get(this.key) === this) rendered.delete(this.key);
    this.client.close();
  }

  #token(): string | Promise<string> {
    const { token = "" } = this.options;
    return typeof token === "function" ? token() : token;
  }
}

/** The key of a client: to where, for whom. */
export function ownedKey({ url }: ClientOptions, identity: Identity): string {
  if (typeof identity === "object" && identity !== null) {
    throw new TidewireError("invalid", "identity takes a text or number that names the user, not an object: it would be another one in each render");
  }
  return JSON.stringify([String(url), typeof identity, identity]);
}

/** For a render: the client that an earlier attempt of it made, or a new one. */
export function ownClient(key: string, options: ClientOptions): OwnedClient {
  const own = rendered.get(key) ?? new OwnedClient(key, options);
  // On a server nothing is opened, and nothing may be shared between visitors.
  if ("document" in globalThis) {
    rendered.set(key, own);
    own.endAfter(RENDER_MS);
  }
  return own;
}
