/** Which mutation and channel a handle of the core means, as long as the core may speak of it. */

import type { Channel } from "./channel.js";
import type { TidewireError } from "./errors.js";
import type { MutationHandle } from "./mutation.js";
import type { MutationStatus } from "./types.js";

interface Tracked {
  readonly mutation: MutationHandle;
  /** The one that made it: a channel that was closed still hears how its mutations end. */
  readonly channel: Channel<object>;
}

/** How many committed mutations are remembered, in case the server's history loses them. */
const COMMITTED_MAX = 1000;

export class Mutations {
  /** Bounded by the outbox of the core. */
  #undecided = new Map<number, Tracked>();
  #committed = new Map<number, Tracked>();

  /** How many have no outcome yet. */
  get undecided(): number {
    return this.#undecided.size;
  }

  add(handle: number, mutation: MutationHandle, channel: Channel<object>): void {
    this.#undecided.set(handle, { mutation, channel });
  }

  /** Finds what a handle means, and forgets it if nothing more can come. */
  moved(handle: number, status: MutationStatus): Tracked | undefined {
    const tracked = this.#undecided.get(handle) ?? this.#committed.get(handle);
    switch (status) {
      case "committed":
        this.#undecided.delete(handle);
        if (tracked) this.#remember(handle, tracked);
        break;
      case "rejected":
      case "expired":
      case "cancelled":
      case "indeterminate":
      case "lost":
        this.#undecided.delete(handle);
        this.#committed.delete(handle);
        break;
    }
    return tracked;
  }

  /**
   * The core is gone, and nobody will say how they end: what was not sent is over, what was sent may have been
   * applied or not.
   */
  abandon(cause: TidewireError): void {
    const undecided = [...this.#undecided.values()];
    this.#undecided.clear();
    this.#committed.clear();
    for (const { mutation, channel } of undecided) channel.mutationAbandoned(mutation, cause);
  }

  #remember(handle: number, tracked: Tracked): void {
    this.#committed.set(handle, tracked);
    if (this.#committed.size <= COMMITTED_MAX) return;
    for (const oldest of this.#committed.keys()) {
      this.#committed.delete(oldest);
      break;
    }
  }
}
