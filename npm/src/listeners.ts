/** Listeners by event name, and the queue that keeps their callbacks out of the middle of things. */

import { reportUncaught } from "./errors.js";

/**
 * Callbacks that wait until what they are about is complete. One that itself causes more only adds
 * to the queue: none runs inside another, and none runs while the core is in a call.
 */
export class Deliveries {
  #queue: (() => void)[] = [];
  #running = false;

  add(callback: () => void): void {
    this.#queue.push(callback);
  }

  /** Runs what waits, unless that is being done further up the stack. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      for (let at = 0; at < this.#queue.length; at++) {
        try {
          this.#queue[at]?.();
        } catch (thrown) {
          reportUncaught(thrown);
        }
      }
    } finally {
      this.#queue = [];
      this.#running = false;
    }
  }
}

/** A set of listeners per event. */
export class Listeners<Events extends object> {
  /** Where callbacks wait. */
  readonly deliveries: Deliveries;
  #sets = new Map<keyof Events, Set<(event: never) => void>>();

  constructor(deliveries: Deliveries) {
    this.deliveries = deliveries;
  }

  /** Adds a listener. Each call is its own registration, also of the same function. */
  on<E extends keyof Events>(name: E, listener: (event: Events[E]) => void): () => void {
    const own = (event: Events[E]): void => listener(event);
    let set = this.#sets.get(name);
    if (!set) this.#sets.set(name, (set = new Set()));
    set.add(own);
    return () => {
      set.delete(own);
    };
  }

  /** Queues a call of everybody who listens and still does when it is their turn. */
  emit<E extends keyof Events>(name: E, event: Events[E]): void {
    const set = this.#sets.get(name);
    for (const listener of set ?? []) {
      this.deliveries.add(() => {
        if (set?.has(listener)) (listener as (event: Events[E]) => void)(event);
      });
    }
  }

  /** Whether anybody listens. */
  has(name: keyof Events): boolean {
    return (this.#sets.get(name)?.size ?? 0) > 0;
  }
}
