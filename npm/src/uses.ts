/** Who uses a channel: counted uses, a hold until `close`, and five seconds in case somebody comes back. */

/** How long a channel that nobody uses stays open, in case somebody does again. */
export const LINGER_MS = 5000;

/** What uses need of their channel. */
export interface UsesHost {
  /** Whether there is anything to let go of. */
  isOpen(): boolean;
  /** Something waits that would be lost: ask again in five seconds. */
  isNeeded(): boolean;
  /** Nobody came back. */
  unused(): void;
}

export class Uses {
  #host: UsesHost;
  #count = 0;
  /** Until `close`. */
  #held = false;
  #linger: ReturnType<typeof setTimeout> | undefined;
  /** When a hook last rendered it. */
  #renderedAt = 0;

  constructor(host: UsesHost) {
    this.#host = host;
  }

  add(): void {
    this.#count += 1;
  }

  remove(): void {
    this.#count -= 1;
    this.linger();
  }

  /** For calls that have no end: unless somebody holds the channel open anyway, it stays open until `close`. */
  hold(): void {
    const cared = this.#count > 0 || this.#linger !== undefined || Date.now() - this.#renderedAt < LINGER_MS;
    if (!cared) this.#held = true;
  }

  /** A component renders it. Its effects, which hold the channel, run later or, if React drops the render, never. */
  rendered(): void {
    this.#renderedAt = Date.now();
  }

  /** Begins the five seconds anew. */
  renew(): void {
    this.#stop();
    this.linger();
  }

  /** Begins the five seconds, unless they are running or the channel is in use. */
  linger(): void {
    if (this.#count > 0 || this.#held || this.#linger !== undefined || !this.#host.isOpen()) return;
    this.#linger = setTimeout(() => {
      this.#linger = undefined;
      if (this.#host.isNeeded()) this.linger();
      else this.#host.unused();
    }, LINGER_MS);
  }

  /** The channel is let go. */
  end(): void {
    this.#stop();
    this.#held = false;
  }

  #stop(): void {
    clearTimeout(this.#linger);
    this.#linger = undefined;
  }
}
