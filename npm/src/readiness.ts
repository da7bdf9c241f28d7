/**
 * The promise of a channel's first view: the same one for everybody who asks, as long as it says how
 * things are. React's `use` suspends for ever on a promise that is new at every render.
 */

import type { TidewireError } from "./errors.js";

/** `use` marks a promise that it was given, and reads a settled one at once if it says so. */
interface Kept extends Promise<void> {
  status?: "pending" | "fulfilled" | "rejected";
}

/** How long a failure is shown before it is tried again: React renders more than once until a boundary has the error. */
export const SHOWN_MS = 1000;

export class Readiness {
  #state: "none" | "pending" | "fulfilled" | "rejected" = "none";
  #kept!: Kept;
  #resolve!: () => void;
  #reject!: (error: TidewireError) => void;
  #failedAt = 0;

  /** Whether a component is suspended on it. */
  get suspends(): boolean {
    return this.#state === "pending" && this.#kept.status !== undefined;
  }

  /** Whether it has failed, and a component is about to find that out. */
  get shows(): boolean {
    return this.#state === "rejected" && this.#kept.status !== undefined && Date.now() - this.#failedAt < SHOWN_MS;
  }

  /** The promise; a new one after a failure, and when a view that was there is gone. */
  promise(hasView: boolean): Promise<void> {
    if (this.#state !== "pending" && !this.shows && !(this.#state === "fulfilled" && hasView)) this.#renew();
    if (hasView) this.resolve();
    return this.#kept;
  }

  /** The view is there. */
  resolve(): void {
    if (this.#state === "rejected") this.#state = "none";
    if (this.#state !== "pending") return;
    this.#state = "fulfilled";
    this.#kept.status = "fulfilled";
    this.#resolve();
  }

  /** There will be none. */
  reject(error: TidewireError): void {
    if (this.#state !== "pending") return;
    this.#state = "rejected";
    this.#failedAt = Date.now();
    this.#reject(error);
  }

  #renew(): void {
    this.#state = "pending";
    this.#kept = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever awaits it hears of a failure; nobody has to.
    this.#kept.catch(() => {});
  }
}
