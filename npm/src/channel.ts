/** One channel: its records, what changes them, and who uses it. */

import type { Names } from "./checks.js";
import { checkFunction, checkKnown, checkOptions } from "./checks.js";
import type { Core, CoreEvent, CoreRefusal, CoreStatus } from "./core.js";
import { TidewireError } from "./errors.js";
import { Follows } from "./follows.js";
import type { Deliveries } from "./listeners.js";
import { Listeners } from "./listeners.js";
import type { ChangeList, MutationHandle } from "./mutation.js";
import { isName, runBuild } from "./mutation.js";
import { Outgoing } from "./outgoing.js";
import { Presence } from "./presence.js";
import { Readiness } from "./readiness.js";
import { Collection } from "./records.js";
import { Selections } from "./selection.js";
import type {
  ChannelEvents,
  ChannelStatus,
  CollectionName,
  Cursor,
  FieldName,
  FieldsOf,
  MutateOptions,
  Mutation,
  MutationStatus,
  NumberField,
  RecordOf,
  SelectOptions,
  Writer,
} from "./types.js";
import { Uses } from "./uses.js";
import { Watchers } from "./watchers.js";

/** What a channel needs of its client. */
export interface ChannelHost {
  readonly deliveries: Deliveries;
  /** The channel wants to be open: load the core if need be, then call `attach`. Also tries again after a failure. */
  want(channel: Channel<object>): void;
  /** Nobody uses the channel any more. `closed`: for good. */
  drop(channel: Channel<object>, id: number | undefined, closed: boolean): void;
  /** Why the connection is over, if it does not come back by itself. */
  over(): TidewireError | undefined;
  /** Reads from the core while it is loaded. */
  read<T>(read: (core: Core) => T): T;
  /** Calls the core; what it has to tell is told after `accept` has seen the result. */
  command<T>(use: (core: Core) => T, accept: (result: T) => void): void;
  /** The core has taken a mutation: `mutationMoved` is called for it until it is settled, also after `close`. */
  track(handle: number, mutation: MutationHandle, channel: Channel<object>): void;
}

const EVENTS: Names<ChannelEvents> = {
  change: 1,
  status: 1,
  live: 1,
  stale: 1,
  failed: 1,
  committed: 1,
  rejected: 1,
  expired: 1,
  cancelled: 1,
  indeterminate: 1,
  lost: 1,
  recovered: 1,
  history_lost: 1,
  presence: 1,
  warning: 1,
};

/** What `select` may be given. */
const SELECT: Names<SelectOptions<unknown>> = { filter: 1, sortBy: 1, descending: 1 };

const NO_IDS: readonly string[] = Object.freeze([]);
const NO_RECORDS: readonly never[] = Object.freeze([]);

/**
 * The state behind one name, and the way to change it. `S` maps collections to record types, `P` is
 * what peers say with `presence.set`.
 *
 * Getting hold of a channel does nothing. It opens when it is first used: by `ready`, a change or
 * `presence.set`, which hold it open until `close`, or by `on`, `watch` and the hooks, which hold
 * it open until they are let go and 5 seconds more. Reading does not open it.
 */
export class Channel<S extends object, P = unknown> implements Writer<S, Mutation> {
  readonly name: string;
  /** Who else is here. */
  readonly presence: Presence<P>;

  #host: ChannelHost;
  #status: ChannelStatus = "idle";
  #error: TidewireError | undefined;
  /** The core's name for the channel, while it is open there. */
  #id: number | undefined;

  #paused = false;
  #uses = new Uses({
    isOpen: () => this.#status !== "idle" && this.#status !== "closed",
    // What waits for the core to load is not dropped; what the core has taken it sees through.
    isNeeded: () => this.#outgoing.waits || this.#readiness.suspends,
    unused: () => {
      this.#end("idle", closedError("the channel is no longer used"));
      this.#host.deliveries.run();
    },
  });
  #readiness = new Readiness();

  #listeners: Listeners<ChannelEvents>;
  #watchers: Watchers;
  #follows = new Follows();

  #collections = new Map<string, Collection>();
  #selections = new Selections();
  #outgoing: Outgoing<S>;

  /** @internal Use `client.channel`. */
  constructor(name: string, host: ChannelHost) {
    this.name = name;
    this.#host = host;
    this.#listeners = new Listeners(host.deliveries);
    this.#watchers = new Watchers(host.deliveries);
    this.#outgoing = new Outgoing(
      {
        id: () => this.#id,
        cursor: () => this.cursor,
        record: (collection, id) => this.#collection(collection)?.get(id),
        command: host.command,
        track: (handle, mutation) => host.track(handle, mutation, this as unknown as Channel<object>),
      },
      this.#listeners,
      this.#watchers,
    );
    this.presence = new Presence<P>({
      setPresence: (json) => this.#setPresence(json),
      peers: () => this.#read((core, id) => core.peers(id)) ?? [],
    });
  }

  // ------------------------------------------------------------------ its life

  /** Where it stands. */
  get status(): ChannelStatus {
    return this.#status;
  }

  /** Why it failed or was closed; or why it is loading or stale, when the server gives no answer for now. */
  get error(): TidewireError | undefined {
    return this.#error;
  }

  /** How far the view has come in the server's history. */
  get cursor(): Cursor | undefined {
    const cursor = this.#read((core, id) => core.cursor(id)) as [number, number, number] | undefined;
    return cursor && { epoch: cursor[0], seq: cursor[1], tag: cursor[2] };
  }

  /** Whether there is a view from the server, its latest or an older one. */
  get #hasView(): boolean {
    return this.#status === "live" || this.#status === "stale";
  }

  /**
   * Opens the channel and waits for the first view from the server. Rejects when there will be none. One
   * that failed is tried again. The same promise as long as nothing changed, so React's `use` takes it:
   * `use(board.ready())` below `useChannel`, which also lets go of the channel after the component.
   */
  ready(): Promise<void> {
    const ready = this.#readiness.promise(this.#hasView);
    if (this.#readiness.shows) return ready;
    try {
      this.#use();
      if (this.#status === "failed" && this.#id !== undefined) {
        this.#subscribe(ignore);
        this.#host.deliveries.run();
      }
      if (this.#status === "failed") this.#readiness.reject(this.#error as TidewireError);
      const over = this.#hasView ? undefined : this.#host.over();
      if (over) this.#readiness.reject(over);
    } catch (thrown) {
      this.#readiness.reject(thrown as TidewireError);
    }
    return ready;
  }

  /** Counts as a use until the returned function is called; then the channel lingers 5 seconds. */
  retain(): () => void {
    this.#refuseIfClosed();
    this.#uses.add();
    this.#open();
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#uses.remove();
    };
  }

  /** @internal A component renders it: what it calls before its effects run holds the channel open for 5 seconds only. */
  rendered(): void {
    this.#uses.rendered();
  }

  /**
   * Wants nothing from the server for a while, say because the page's part is hidden: no changes come, and
   * others no longer see one's presence. The view stays, `stale`, and changes made meanwhile wait.
   */
  pause(): void {
    this.#setPaused(true);
  }

  /**
   * Gives up what this client has seen of a server that does not know it any more (`error.code` is
   * `recovery_required`), instead of waiting for half an hour. The next view is the server's; `history_lost`
   * says what it takes the place of.
   */
  startOver(): void {
    const id = this.#id;
    if (id !== undefined) this.#host.command((core) => core.start_over(id), ignore);
  }

  /** Ends a pause: the channel catches up, and what waited is sent. */
  resume(): void {
    this.#setPaused(false);
  }

  /** Lets go of the channel for good, whoever else uses it. Mutations under way still reach the server. */
  close(): void {
    if (this.#status === "closed") return;
    this.#end("closed", closedError("the channel was closed: get it anew from client.channel"));
    this.#host.deliveries.run();
  }

  // ------------------------------------------------------------------- reading

  /** A record, with every pending change in it: the same frozen object until it looks different. */
  get<C extends CollectionName<S>>(collection: C, id: string): RecordOf<S, C> | undefined {
    if (!isName(id)) return undefined;
    return this.#collection(collection)?.get(id) as RecordOf<S, C> | undefined;
  }

  /** The ids of a collection, sorted: the same array until a record comes or goes. */
  ids(collection: CollectionName<S>): readonly string[] {
    return this.#collection(collection)?.ids() ?? NO_IDS;
  }

  /** Records of a collection by `filter` and `sortBy`: the same array until one of them looks different. */
  select<C extends CollectionName<S>>(
    collection: C,
    options: SelectOptions<RecordOf<S, C>> = {},
  ): readonly RecordOf<S, C>[] {
    return this.selectIn(this.#selections, collection, options);
  }

  /** @internal `select` for a reader who keeps its own selections. */
  selectIn<C extends CollectionName<S>>(
    selections: Selections,
    collection: C,
    options: SelectOptions<RecordOf<S, C>>,
  ): readonly RecordOf<S, C>[] {
    checkOptions("select", options, SELECT);
    const { filter, sortBy } = options;
    if (typeof filter !== "object" && filter !== undefined) checkFunction("filter, unless it is fields,", filter);
    if (typeof sortBy !== "string" && sortBy !== undefined) checkFunction("sortBy, unless it is a field's name,", sortBy);
    const own = this.#collection(collection);
    if (!own) return NO_RECORDS;
    type Options = SelectOptions<Record<string, unknown>>;
    return selections.items(own, options as unknown as Options) as readonly RecordOf<S, C>[];
  }

  /** Whether a change of this record waits for the server. */
  pending(collection: CollectionName<S>, id: string): boolean {
    if (!isName(id)) return false;
    return (
      this.#outgoing.waitsFor(collection, id) ||
      (this.#read((core, own) => core.is_pending(own, collection, id)) ?? false)
    );
  }

  /** Calls back when a record, or anything in a collection, looks different or is no longer pending. Counts as a use. */
  watch(collection: CollectionName<S>, listener: () => void): () => void;
  watch(collection: CollectionName<S>, id: string, listener: () => void): () => void;
  watch(collection: CollectionName<S>, id: string | (() => void), listener?: () => void): () => void {
    const call = typeof id === "function" ? id : listener;
    checkFunction("the listener", call);
    if (!isName(collection) || (id !== call && !isName(id))) throw new TidewireError("invalid", "watch takes a collection's name, and a record's id if it is about one");
    const release = this.retain();
    const stop =
      typeof id === "string"
        ? this.#watchers.add(collection, id, listener as () => void)
        : this.#watchers.add(collection, undefined, id);
    this.#follows.add(collection, typeof id === "string" ? id : undefined);
    return () => {
      stop();
      release();
    };
  }

  /** Listens to what the channel tells. Counts as a use. */
  on<E extends keyof ChannelEvents>(name: E, listener: (event: ChannelEvents[E]) => void): () => void {
    checkKnown("an event of a channel", name, EVENTS);
    checkFunction("the listener", listener);
    const release = this.retain();
    const stop = this.#listeners.on(name, listener);
    if (name === "change") this.#follows.everything();
    return () => {
      stop();
      release();
    };
  }

  // ------------------------------------------------------------------ changing

  set<C extends CollectionName<S>>(
    collection: C,
    id: string,
    fields: Partial<FieldsOf<S[C]>>,
    options?: MutateOptions<S>,
  ): Mutation {
    return this.#change((list) => list.set(collection, id, fields), options);
  }

  put<C extends CollectionName<S>>(
    collection: C,
    id: string,
    fields: FieldsOf<S[C]>,
    options?: MutateOptions<S>,
  ): Mutation {
    return this.#change((list) => list.put(collection, id, fields as object), options);
  }

  /** With options: use `batch`. */
  unset<C extends CollectionName<S>>(
    collection: C,
    id: string,
    ...fields: [FieldName<S[C]>, ...FieldName<S[C]>[]]
  ): Mutation {
    return this.#change((list) => list.unset(collection, id, ...fields));
  }

  delete<C extends CollectionName<S>>(collection: C, id: string, options?: MutateOptions<S>): Mutation {
    return this.#change((list) => list.delete(collection, id), options);
  }

  increment<C extends CollectionName<S>>(
    collection: C,
    id: string,
    field: NumberField<S[C]>,
    by: number | bigint = 1,
    options?: MutateOptions<S>,
  ): Mutation {
    return this.#change((list) => list.increment(collection, id, field, by), options);
  }

  /**
   * Several changes as one mutation: all of them happen, or none. If `build` throws, nothing does.
   *
   * ```ts
   * // Move a card only if nobody else did, and try again on top of who did.
   * board.batch((tx) => tx.set("cards", id, { column: "done" }), {
   *   require: [{ unchanged: ["cards", id] }],
   *   onConflict: ({ current, retry }) => {
   *     if (current?.column === "doing") retry((tx) => tx.set("cards", id, { column: "done" }));
   *   },
   * });
   * ```
   */
  batch(build: (tx: Writer<S, void>) => void, options?: MutateOptions<S>): Mutation {
    return this.#change((list) => runBuild(build, list), options);
  }

  #change(build: (list: ChangeList) => void, options: MutateOptions<S> = {}): Mutation {
    this.#refuseIfClosed();
    const list = this.#outgoing.list(build, options);
    // Checked again: `build` is the application's code.
    this.#use();
    const mutation = this.#outgoing.add(list, options);
    this.#host.deliveries.run();
    return mutation;
  }

  // --------------------------------------------------------- called by the client

  /** @internal The core is loaded: open the channel in it. */
  attach(route: (id: number) => void): void {
    if (this.#id !== undefined) return;
    try {
      this.#subscribe(route);
    } catch (thrown) {
      this.fail(thrown as TidewireError);
      return;
    }
    const own = this.presence.own;
    if (own !== undefined) this.#warnIfRefused(() => this.#setPresence(own));
    this.#outgoing.sendWaiting();
    this.#watchers.everything();
  }

  /** @internal There is no way to a view, for now or ever: the core is not there, or refuses the channel. */
  fail(error: TidewireError): void {
    this.#id = undefined;
    this.#forget();
    this.#outgoing.rejectWaiting(error);
    this.#moved("failed", error);
  }

  /** @internal The core is gone, and the channel with it. */
  detach(error: TidewireError): void {
    this.#end("closed", error);
  }

  /** @internal Nobody will make it ready. */
  disconnected(error: TidewireError): void {
    this.#readiness.reject(error);
  }

  /** @internal First pass of a flush: after it, every read is of the new state. */
  changed(keys: readonly string[]): void {
    // Sorted: what belongs to a collection is looked up once, not for each of its records.
    for (let at = 0; at + 1 < keys.length; ) {
      const collection = keys[at] as string;
      const cache = this.#collections.get(collection);
      const wake = this.#watchers.waker(collection);
      for (; keys[at] === collection && at + 1 < keys.length; at += 2) {
        const id = keys[at + 1] as string;
        cache?.changed(id);
        if (wake?.(id)) this.#follows.add(collection, id);
      }
      this.#watchers.collection(collection);
    }
    if (!this.#listeners.has("change")) return;
    const records = [];
    for (let at = 0; at + 1 < keys.length; at += 2) {
      records.push({ collection: keys[at] as string, id: keys[at + 1] as string });
    }
    this.#listeners.emit("change", records);
  }

  /** @internal Second pass of a flush. */
  handle(event: CoreEvent): void {
    switch (event[0]) {
      case "channel": {
        const [, , status, ...reason] = event;
        this.#moved(status, toError(reason));
        break;
      }
      case "recovered":
        this.#listeners.emit("recovered", { by: event[2], entries: event[3] });
        break;
      case "history_lost":
        this.#listeners.emit("history_lost", { from: toCursor(event[2]), to: toCursor(event[3]) });
        break;
      case "presence":
        this.presence.changed();
        this.#listeners.emit("presence", undefined);
        break;
      case "warning": {
        const [, , ...reason] = event;
        this.#warn(toError(reason) as TidewireError);
        break;
      }
    }
  }

  /** @internal Whether anybody listens. */
  hears(event: keyof ChannelEvents): boolean {
    return this.#listeners.has(event);
  }

  /** @internal Nobody will say how a mutation of this channel ends. */
  mutationAbandoned(mutation: MutationHandle, cause: TidewireError): void {
    this.#outgoing.abandon(mutation, cause);
  }

  /** @internal A mutation of this channel has a new status. */
  mutationMoved(mutation: MutationHandle, status: MutationStatus, refusal: CoreRefusal): void {
    this.#outgoing.moved(mutation, status, refusal);
  }

  // ------------------------------------------------------------------- private

  #use(): void {
    this.#refuseIfClosed();
    this.#uses.hold();
    this.#open();
  }

  #setPaused(paused: boolean): void {
    this.#refuseIfClosed();
    if (this.#paused === paused) return;
    this.#paused = paused;
    const id = this.#id;
    if (id === undefined) return;
    this.#host.command((core) => (paused ? core.pause(id) : core.resume(id)), ignore);
    this.#host.deliveries.run();
  }

  #refuseIfClosed(): void {
    if (this.#status === "closed") throw this.#error;
  }

  #open(): void {
    // One that failed in the core stays so; one that never got there is tried again.
    if (this.#status === "idle" || (this.#status === "failed" && this.#id === undefined)) this.#moved("loading");
    this.#uses.renew();
    if (this.#id === undefined) this.#host.want(this as unknown as Channel<object>);
    this.#host.deliveries.run();
  }

  #subscribe(route: (id: number) => void): void {
    this.#host.command(
      (core) => {
        const id = core.subscribe(this.name);
        if (this.#paused) core.pause(id);
        return { id, status: (core.status(id) ?? ["loading"]) as CoreStatus };
      },
      ({ id, status: [status, ...reason] }) => {
        this.#id = id;
        route(id);
        this.#follow(id);
        // It may have a view already: one that was let go stays until its mutations are decided.
        this.#moved(status, toError(reason));
      },
    );
  }

  /** Tells the core what is watched. */
  #follow(id: number): void {
    this.#follows.begin((collection, record) => this.#host.read((core) => core.follow(id, collection, record)));
    if (this.#listeners.has("change")) this.#follows.everything();
    this.#watchers.each((collection, record) => this.#follows.add(collection, record));
  }

  /** What was read: nobody tells any more when it is old. */
  #forget(): void {
    this.#follows.end();
    this.#collections.clear();
    this.#selections.clear();
  }

  #end(status: "idle" | "closed", error: TidewireError): void {
    this.#uses.end();
    // Nobody is called to find nothing: that it is over, `status` tells.
    if (status === "closed") this.#watchers.end();
    const id = this.#id;
    this.#id = undefined;
    this.#forget();
    this.presence.reset();
    this.#outgoing.abandonWaiting(error);
    this.disconnected(error);
    this.#moved(status, status === "closed" ? error : undefined);
    this.#host.drop(this as unknown as Channel<object>, id, status === "closed");
  }

  #moved(status: ChannelStatus, error?: TidewireError): void {
    if (this.#status === status && this.#error === error) return;
    this.#status = status;
    this.#error = error;
    if (this.#hasView) this.#readiness.resolve();
    // A server that has no answer for now is asked again: the wait goes on.
    else if (error && status !== "loading") this.#readiness.reject(error);
    this.#listeners.emit("status", status);
    if (status === "live" || status === "stale") this.#listeners.emit(status, undefined);
    else if (status === "failed") this.#listeners.emit("failed", error as TidewireError);
  }

  #setPresence(json: string | undefined): void {
    this.#use();
    const id = this.#id;
    if (id === undefined) return;
    this.#host.command(
      (core) => core.set_presence(id, json),
      ignore,
    );
    this.#host.deliveries.run();
  }

  #warnIfRefused(call: () => void): void {
    try {
      call();
    } catch (thrown) {
      this.#warn(thrown as TidewireError);
    }
  }

  #warn(error: TidewireError): void {
    this.#listeners.emit("warning", error);
  }

  #collection(name: string): Collection | undefined {
    if (this.#id === undefined) return undefined;
    let collection = this.#collections.get(name);
    if (!collection) {
      const id = this.#id;
      collection = new Collection(name, {
        record: (c, record) => this.#host.read((core) => core.record(id, c, record)),
        has: (c, record) => this.#host.read((core) => core.has(id, c, record)),
        ids: (c) => this.#host.read((core) => core.ids(id, c) as string[]),
        follow: (c) => this.#follows.add(c),
      });
      this.#collections.set(name, collection);
    }
    return collection;
  }

  #read<T>(read: (core: Core, id: number) => T): T | undefined {
    const id = this.#id;
    return id === undefined ? undefined : this.#host.read((core) => read(core, id));
  }
}

/** What `close` leaves behind. */
export function closedError(message: string): TidewireError {
  return new TidewireError("closed", message);
}

function toError(reason: readonly [] | readonly [string, string, boolean]): TidewireError | undefined {
  if (reason.length === 0) return undefined;
  const [code, detail, retryable] = reason;
  return new TidewireError(code, detail === "" ? code : detail, { retryable });
}

function toCursor([epoch, seq, tag]: [number, number, number]): Cursor {
  return { epoch, seq, tag };
}

function ignore(): void {}
