/** A channel's changes on their way: the queue until the core is loaded, the core, and what becomes of them. */

import type { Names } from "./checks.js";
import { checkFunction, checkOptions } from "./checks.js";
import { askForRetry, CONFLICTS_MAX } from "./conflict.js";
import type { Core, CoreRefusal } from "./core.js";
import { reportUncaught, TidewireError } from "./errors.js";
import type { Listeners } from "./listeners.js";
import type { MutationOwner } from "./mutation.js";
import { ChangeList, isName, MutationHandle, runBuild } from "./mutation.js";
import { freeze } from "./records.js";
import type { ChannelEvents, Conflict, Cursor, MutateOptions, Mutation, MutationStatus, Precondition } from "./types.js";
import type { Watchers } from "./watchers.js";

/** What changes need of their channel. */
export interface OutgoingHost {
  /** The core's name for the channel, while it is open there. */
  id(): number | undefined;
  cursor(): Cursor | undefined;
  /** A record as it looks now. */
  record(collection: string, id: string): unknown;
  /** Calls the core; what it has to tell is told after `accept` has seen the result. */
  command<T>(use: (core: Core) => T, accept: (result: T) => void): void;
  /** The core has taken a mutation. */
  track(handle: number, mutation: MutationHandle): void;
}

/** How many mutations wait for the core to load. */
const QUEUE_MAX = 1000;

/** What a change may be given besides. */
const OPTIONS: Names<MutateOptions<object>> = { require: 1, ttlMs: 1, after: 1, coalesce: 1, onConflict: 1 };

interface Waiting {
  readonly list: ChangeList;
  readonly mutation: MutationHandle;
  readonly since: number;
}

export class Outgoing<S extends object> {
  #host: OutgoingHost;
  #listeners: Listeners<ChannelEvents>;
  #watchers: Watchers;
  #queue: Waiting[] = [];
  #owner: MutationOwner = { cancel: (mutation) => this.#cancel(mutation) };

  constructor(host: OutgoingHost, listeners: Listeners<ChannelEvents>, watchers: Watchers) {
    this.#host = host;
    this.#listeners = listeners;
    this.#watchers = watchers;
  }

  /** Whether something waits for the core to load. */
  get waits(): boolean {
    return this.#queue.length > 0;
  }

  /** Whether a change of this record does. */
  waitsFor(collection: string, id: string): boolean {
    return this.#queue.some(({ list }) => list.keys.some((key) => key.collection === collection && key.id === id));
  }

  /** Runs the application's code, and checks what it asks for. Nothing has happened yet. */
  list(build: (list: ChangeList) => void, options: MutateOptions<S>): ChangeList {
    checkOptions("a change", options, OPTIONS);
    const { require = [], ttlMs, after, coalesce, onConflict } = options;
    if (onConflict !== undefined) checkFunction("onConflict", onConflict);
    if (coalesce !== undefined && !isName(coalesce)) throw new TidewireError("invalid", "coalesce takes a string without lone surrogates");
    if (ttlMs !== undefined && !(typeof ttlMs === "number" && ttlMs >= 0)) {
      throw new TidewireError("invalid", `ttlMs is ${String(ttlMs)}: it takes milliseconds from now`);
    }
    if (after && !(after instanceof MutationHandle && after.owner === this.#owner)) {
      throw new TidewireError("invalid", "after takes a mutation of the same channel");
    }
    const list = new ChangeList();
    try {
      build(list);
    } finally {
      list.seal();
    }
    list.require(require as readonly Precondition<never>[], this.#host.cursor());
    return list;
  }

  add(list: ChangeList, options: MutateOptions<S>): Mutation {
    const mutation = new MutationHandle(this.#owner, list.keys, options, this.#listeners.deliveries);
    if (this.#host.id() === undefined) this.#enqueue(list, mutation);
    else this.#send(list, mutation, options);
    return mutation;
  }

  /** The core is loaded. */
  sendWaiting(): void {
    for (const { list, mutation, since } of this.#taken()) {
      const { ttlMs, ...options } = mutation.options as MutateOptions<S>;
      const left = ttlMs === undefined ? undefined : Math.max(0, ttlMs - (Date.now() - since));
      try {
        this.#send(list, mutation, { ...options, ttlMs: left });
      } catch (thrown) {
        this.#reject(mutation, thrown as TidewireError);
      }
    }
  }

  /** The core will not be there, or does not take the channel. */
  rejectWaiting(error: TidewireError): void {
    for (const { mutation } of this.#taken()) this.#reject(mutation, error);
  }

  /** The channel is let go. */
  abandonWaiting(cause: TidewireError): void {
    for (const { mutation } of this.#taken()) this.abandon(mutation, cause);
  }

  /** Nobody will say how a mutation ends. */
  abandon(mutation: MutationHandle, cause: TidewireError): void {
    this.#ended(mutation, mutation.status === "queued" ? "cancelled" : "indeterminate", cause);
  }

  /**
   * The core says where a mutation stands now. Who watches a record hears when it begins and when it no longer is
   * pending; what is between concerns only who asks the mutation.
   */
  moved(mutation: MutationHandle, status: MutationStatus, refusal: CoreRefusal): void {
    switch (status) {
      case "committed":
        mutation.move(status);
        this.#listeners.emit("committed", mutation);
        this.#notifyRecords(mutation);
        break;
      case "rejected":
        this.#refused(mutation, refusal);
        break;
      case "expired":
      case "cancelled":
      case "lost":
      case "indeterminate":
        this.#ended(mutation, status);
        break;
      default:
        mutation.move(status);
    }
  }

  #taken(): Waiting[] {
    return this.#queue.splice(0);
  }

  #enqueue(list: ChangeList, mutation: MutationHandle): void {
    if (this.#queue.length >= QUEUE_MAX) {
      throw new TidewireError(
        "queue_full",
        `${QUEUE_MAX} mutations wait for tidewire to load: await ready() before making so many`,
        { retryable: true },
      );
    }
    this.#queue.push({ list, mutation, since: Date.now() });
    this.#notifyRecords(mutation);
  }

  #send(list: ChangeList, mutation: MutationHandle, { ttlMs, coalesce, after }: MutateOptions<S>): void {
    const channel = this.#host.id() as number;
    const first = after?.status === "committed" ? undefined : (after as MutationHandle | undefined);
    if (first && first.handle === undefined) {
      throw new TidewireError("dep_failed", "the mutation that this one comes after was not committed");
    }
    this.#host.command(
      (core) => {
        const handle = core.mutate(channel, list.words, ttlMs, first?.handle, coalesce);
        mutation.handle = handle;
        return handle;
      },
      (handle) => {
        this.#host.track(handle, mutation);
        this.#notifyRecords(mutation);
      },
    );
  }

  #cancel(mutation: MutationHandle): boolean {
    const at = this.#queue.findIndex((waiting) => waiting.mutation === mutation);
    const { handle } = mutation;
    let cancelled = at >= 0;
    if (cancelled) {
      this.#queue.splice(at, 1);
      this.#ended(mutation, "cancelled");
    } else if (handle !== undefined) {
      this.#host.command(
        (core) => core.cancel(handle),
        (done) => {
          cancelled = done;
        },
      );
    }
    this.#listeners.deliveries.run();
    return cancelled;
  }

  #ended(mutation: MutationHandle, status: keyof typeof FATES, cause?: TidewireError): void {
    const error = cause
      ? new TidewireError(status, `${cause.message}; ${FATES[status]}`, { cause })
      : new TidewireError(status, FATES[status]);
    mutation.move(status, error);
    this.#listeners.emit(status, { mutation, error });
    this.#notifyRecords(mutation);
  }

  #refused(mutation: MutationHandle, [code = "refused", detail = "", retryable = false, json]: CoreRefusal): void {
    const current = json === undefined ? undefined : (freeze(JSON.parse(json)) as Conflict<S>["current"]);
    const error = new TidewireError(code, detail === "" ? code : detail, { retryable, current });
    const { onConflict } = mutation.options as MutateOptions<S>;
    const asks = code === "conflict" && onConflict && mutation.conflicts < CONFLICTS_MAX;
    if (!asks || this.#host.id() === undefined) {
      this.#reject(mutation, error);
      return;
    }
    const attempt = ++mutation.conflicts;
    this.#listeners.deliveries.add(() => this.#resolve({ mutation, error, current, attempt }, mutation, onConflict));
  }

  /** Whatever the application does about a conflict, the mutation goes on or ends. */
  #resolve(conflict: Omit<Conflict<S>, "retry">, mutation: MutationHandle, ask: (conflict: Conflict<S>) => void): void {
    const again = askForRetry(conflict, ask);
    if (!again || this.#host.id() === undefined) {
      this.#reject(mutation, conflict.error);
      return;
    }
    try {
      const list = this.list((own) => runBuild(again.build, own), again.options);
      mutation.restart(list.keys);
      this.#send(list, mutation, again.options);
    } catch (thrown) {
      if (!(thrown instanceof TidewireError)) reportUncaught(thrown);
      this.#reject(mutation, thrown instanceof TidewireError ? thrown : conflict.error);
    }
  }

  #reject(mutation: MutationHandle, reason: TidewireError): void {
    const key = mutation.keys.length === 1 ? mutation.keys[0] : undefined;
    const seen = key && reason.code !== "conflict" ? this.#host.record(key.collection, key.id) : undefined;
    const current = reason.current ?? seen;
    const error = new TidewireError(reason.code, reason.message, {
      retryable: reason.retryable,
      ...(reason.cause === undefined ? {} : { cause: reason.cause }),
      ...(current === undefined ? {} : { current }),
    });
    mutation.move("rejected", error);
    this.#listeners.emit("rejected", { mutation, error });
    this.#notifyRecords(mutation);
  }

  #notifyRecords(mutation: MutationHandle): void {
    for (const { collection, id } of mutation.keys) this.#watchers.record(collection, id);
  }
}

const FATES = {
  cancelled: "this change was taken back before it was sent, and nothing of it was applied",
  expired: "the deadline passed before the server decided: make the change anew if it still matters",
  lost: "the server's history lost this change: make it again if it still matters",
  indeterminate: "this change was sent, and nobody can say whether it was applied: look before making it again",
} as const;
