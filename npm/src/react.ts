/**
 * Hooks. They count as uses of a channel while a component is mounted, and 5 seconds more, so that
 * StrictMode's double mounting and a change of page open one connection. Rendering opens nothing but
 * for a component that waits for its first view (`useReady`), so nothing is opened on a server.
 */

"use client";

import type { ReactElement, ReactNode } from "react";
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useDeferredValue,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import type { Channel } from "./channel.js";
import type { Client } from "./client.js";
import { TidewireError } from "./errors.js";
import { hasView, waitFor } from "./first-view.js";
import type { Initial, InitialRecords } from "./initial.js";
import { Initials } from "./initial.js";
import { toJson } from "./json.js";
import type { Identity } from "./owned.js";
import { ownClient, ownedKey } from "./owned.js";
import { Selections } from "./selection.js";
import type {
  AnySchema,
  ChannelStatus,
  ClientOptions,
  CollectionName,
  Connection,
  JsonSchema,
  Mutation,
  MutationStatus,
  Peer,
  RecordOf,
  SelectOptions,
} from "./types.js";
import { warnOfClosed, warnOfInlineFunctions, warnOfNewClient } from "./warn.js";

const ClientContext = createContext<Client | undefined>(undefined);
const InitialContext = createContext<Initials | undefined>(undefined);

export type { Identity, Initial };

interface Below {
  initial?: Initial | undefined;
  children?: ReactNode;
}

/** A client that the application made, and closes if need be. */
interface GivenClient extends Below {
  client: Client;
  options?: undefined;
  identity?: undefined;
}

/** A client that the provider makes, and closes. */
interface OwnClient extends Below {
  options: ClientOptions;
  identity?: Identity;
  client?: undefined;
}

/**
 * Gives a client to the hooks below it: one that it is given (`client`) and neither connects nor closes, or one of
 * its own, made with `options`. That is closed 5 seconds after the provider has gone, and at once when `identity`,
 * which names the user, or the server's URL is another one; then a new one takes its place. Of `options` only `token`
 * is looked at again.
 *
 * `initial`, read once: the records that a page was rendered with on a server. Hooks show them there,
 * while the page hydrates, and until a channel of the first client has its first view.
 */
export function TidewireProvider(props: GivenClient | OwnClient): ReactElement {
  const { client, options, identity, initial, children } = props;
  if (options) return createElement(Owner, { options, identity, initial }, children);
  if (!client) throw new TidewireError("invalid", "TidewireProvider takes a client, or options to make one of its own");
  return createElement(Giver, { client, initial, given: true }, children);
}

function Owner({ options, identity, initial, children }: OwnClient): ReactElement {
  const key = ownedKey(options, identity);
  const [kept, keep] = useState(() => ownClient(key, options));
  let own = kept;
  if (kept.key !== key || kept.ended) keep((own = ownClient(key, options)));
  const last = useRef(own);
  useEffect(() => {
    own.options = options;
  });
  useEffect(() => {
    // Hidden for longer than it lingers, and shown again.
    if (own.ended) {
      keep(ownClient(key, own.options));
      return undefined;
    }
    const unmount = own.mount();
    if (last.current !== own) last.current.end();
    last.current = own;
    return unmount;
  }, [own, key]);
  return createElement(Giver, { client: own.client, initial, given: false }, children);
}

/** `given`: by the application, which may have made it while rendering. */
function Giver(props: Below & { client: Client; given: boolean }): ReactElement {
  const { client, given, initial, children } = props;
  const [own] = useState(() => ({ client, initials: initial && new Initials(initial) }));
  if (given) warnOfNewClient(own, client);
  // Another client is another user's: what was rendered for the first one is not for them.
  const below = createElement(InitialContext.Provider, { value: own.client === client ? own.initials : undefined }, children);
  return createElement(ClientContext.Provider, { value: client }, below);
}

/** The client of the provider above. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  if (!client) {
    throw new TidewireError("invalid", "no tidewire client here: render this below <TidewireProvider client={…}> or <TidewireProvider options={…}>");
  }
  return client;
}

/** The channel of a name, held open while the component is mounted. */
export function useChannel<S extends JsonSchema<S> = AnySchema, P = unknown>(name: string): Channel<S, P> {
  const client = useClient();
  const channel = client.channel<S, P>(name);
  channel.rendered();
  useEffect(() => whileOpen(channel, () => channel.retain()), [channel]);
  return channel;
}

/**
 * Waits for a channel's first view: suspends until it is there, and throws the `TidewireError` to the
 * nearest error boundary when there will be none, because the server refuses the channel or the client
 * has stopped. A boundary that is reset later tries again. Whoever leaves while it waits lets go of
 * the channel 10 seconds later at most.
 *
 * Rather than `use(channel.ready())`, because it needs no React 19, and because on a server and while
 * a page hydrates it lets the component render without a view, which stays until there is one.
 */
export function useReady<S extends object, P>(channel: Channel<S, P>): void {
  const client = useClient();
  const initial = useInitial(channel);
  const subscribe = useCallback((wake: () => void) => whileOpen(channel, () => channel.on("status", wake)), [channel]);
  const there = useSyncExternalStore(
    subscribe,
    () => hasView(channel) || initial?.isFor(channel) === true,
    () => true,
  );
  // Deferred: what the server rendered is not taken away again for a fallback.
  const inPage = useDeferredValue(useSyncExternalStore(never, () => true, () => false));
  if (inPage && !there) throw waitFor(client, channel as unknown as Channel<object>);
}

function never(): () => void {
  return nothing;
}

/** Where a channel stands. */
export function useChannelStatus<S extends object, P>(channel: Channel<S, P>): ChannelStatus {
  const subscribe = useCallback((wake: () => void) => whileOpen(channel, () => channel.on("status", wake)), [channel]);
  return useSyncExternalStore(
    subscribe,
    () => channel.status,
    () => "idle" as const,
  );
}

/**
 * One record; the component renders again when it looks different, and for no other record. With
 * `select` only when what that makes of the record is another by `isEqual` (`Object.is`):
 * `useRecord(board, "cards", id, (card) => card?.title)`.
 */
export function useRecord<S extends object, P, C extends CollectionName<S>>(
  channel: Channel<S, P>,
  collection: C,
  id: string,
): RecordOf<S, C> | undefined;
export function useRecord<S extends object, P, C extends CollectionName<S>, T>(
  channel: Channel<S, P>,
  collection: C,
  id: string,
  select: (record: RecordOf<S, C> | undefined) => T,
  isEqual?: (before: T, after: T) => boolean,
): T;
export function useRecord<S extends object, P, C extends CollectionName<S>>(
  channel: Channel<S, P>,
  collection: C,
  id: string,
  select: (record: RecordOf<S, C> | undefined) => unknown = itself,
  isEqual: (before: unknown, after: unknown) => boolean = Object.is,
): unknown {
  const subscribe = useWatch(channel, collection, id);
  const initial = useInitial(channel);
  const selected = useSelected(select, isEqual);
  return useSyncExternalStore(
    subscribe,
    () => selected(initial?.isFor(channel) ? initial.get(collection, id) : channel.get(collection, id)),
    () => selected(initial?.get(collection, id)),
  );
}

/** What `select` makes of a value: computed once per value and function, and the same while it is equal. */
function useSelected<R, T>(select: (of: R) => T, isEqual: (before: T, after: T) => boolean): (of: R) => T {
  const last = useRef<{ of: R; select: (of: R) => T; value: T } | undefined>(undefined);
  return (of) => {
    const known = last.current;
    if (known && known.of === of && known.select === select) return known.value;
    const made = select(of);
    const value = known && isEqual(known.value, made) ? known.value : made;
    last.current = { of, select, value };
    return value;
  };
}

/** Whether a change of a record waits for the server. */
export function usePending<S extends object, P>(
  channel: Channel<S, P>,
  collection: CollectionName<S>,
  id: string,
): boolean {
  const subscribe = useWatch(channel, collection, id);
  return useSyncExternalStore(
    subscribe,
    () => channel.pending(collection, id),
    () => false,
  );
}

const NOTHING: readonly never[] = Object.freeze([]);

/** How many selections a hook keeps: that of what is shown, and that of what is being rendered. */
const SELECTIONS_MAX = 2;

/** What a collection is without options: the same options each time. */
const EVERYTHING = Object.freeze({});

/**
 * Records of a collection; the component renders again when one of them looks different. `filter` and
 * `sortBy` are called for records that changed. Functions written inside the component are new ones at
 * each render, and then called for every record once: keep them outside, or in `useCallback`, where
 * collections are large. What is selected stays the same array all the same.
 */
export function useCollection<S extends object, P, C extends CollectionName<S>>(
  channel: Channel<S, P>,
  collection: C,
  options: SelectOptions<RecordOf<S, C>> = EVERYTHING,
): readonly RecordOf<S, C>[] {
  const subscribe = useWatch(channel, collection);
  const initial = useInitial(channel);
  const [selections] = useState(() => new Selections(SELECTIONS_MAX));
  warnOfInlineFunctions(selections, options, () => channel.ids(collection).length);
  return useSyncExternalStore(
    subscribe,
    () => (initial?.isFor(channel) ? initial : channel).selectIn(selections, collection, options),
    () => initial?.selectIn(selections, collection, options) ?? NOTHING,
  );
}

/**
 * Who else is on a channel. With `mine`, also says that about this client, until the component
 * unmounts. For what moves with the pointer call `channel.presence.set` instead.
 */
export function usePresence<S extends object, P>(channel: Channel<S, P>, mine?: P): readonly Peer<P>[] {
  const subscribe = useCallback((wake: () => void) => whileOpen(channel, () => channel.on("presence", wake)), [channel]);
  const json = mine === undefined ? undefined : toJson("presence", mine);
  useEffect(() => {
    if (json !== undefined) channel.presence.set(JSON.parse(json) as P);
  }, [channel, json]);
  const speaks = json !== undefined;
  useEffect(() => {
    if (!speaks) return undefined;
    return () => {
      if (channel.status !== "closed") channel.presence.clear();
    };
  }, [channel, speaks]);
  return useSyncExternalStore(
    subscribe,
    () => channel.presence.peers,
    () => NOTHING,
  );
}

/** The connection of the provider's client. */
export function useConnection(): Connection {
  const client = useClient();
  const subscribe = useCallback((wake: () => void) => client.on("connection", wake), [client]);
  return useSyncExternalStore(
    subscribe,
    () => client.connection,
    () => (server ??= Object.freeze({ state: "idle", online: false, transport: undefined, since: Date.now(), reason: undefined })),
  );
}

/** On a server, and while a page hydrates. Made when it is first asked for: importing reads no clock. */
let server: Connection | undefined;

/** The latest mutation that `run` made, and how it fares. */
export interface MutationState<Args extends unknown[]> {
  /** Makes a mutation. Errors go to `error`, so that an event handler may ignore the result. */
  run(...args: Args): Mutation | undefined;
  readonly status: MutationStatus | "idle";
  readonly error: TidewireError | undefined;
  /** Whether it waits for the server. */
  readonly isPending: boolean;
  /** Forgets it. */
  reset(): void;
}

/** Follows what a function that makes a mutation made last: `useMutation((title: string) => board.set("cards", id, { title }))`. */
export function useMutation<Args extends unknown[]>(make: (...args: Args) => Mutation): MutationState<Args> {
  const [made, setMade] = useState<{ mutation?: Mutation; refusal?: TidewireError }>({});
  const latest = useRef(make);
  useEffect(() => {
    latest.current = make;
  });
  const { mutation, refusal } = made;
  const subscribe = useCallback((wake: () => void) => mutation?.subscribe(wake) ?? nothing, [mutation]);
  const status = useSyncExternalStore(
    subscribe,
    () => mutation?.status,
    () => undefined,
  );
  const error = useSyncExternalStore(
    subscribe,
    () => refusal ?? mutation?.error,
    () => undefined,
  );
  const actions = useMemo(
    () => ({
      run(...args: Args): Mutation | undefined {
        try {
          const next = latest.current(...args);
          setMade({ mutation: next });
          return next;
        } catch (thrown) {
          if (!(thrown instanceof TidewireError)) throw thrown;
          setMade({ refusal: thrown });
          return undefined;
        }
      },
      reset: () => setMade({}),
    }),
    [],
  );
  const isPending = error === undefined && (status === "queued" || status === "attempted" || status === "accepted");
  return { ...actions, status: refusal ? "rejected" : (status ?? "idle"), error, isPending };
}

function useWatch<S extends object, P>(
  channel: Channel<S, P>,
  collection: CollectionName<S>,
  id?: string,
): (wake: () => void) => () => void {
  const initial = useInitial(channel);
  return useCallback(
    (wake) =>
      whileOpen(channel, () => {
        const stop = id === undefined ? channel.watch(collection, wake) : channel.watch(collection, id, wake);
        // The first view may have no record, so that nothing changes but that there is one.
        const stopFirst = initial?.isFor(channel) ? channel.on("status", wake) : nothing;
        return () => {
          stop();
          stopFirst();
        };
      }),
    [channel, initial, collection, id],
  );
}

/** What a server rendered the channel with. */
function useInitial<S extends object, P>(channel: Channel<S, P>): InitialRecords<S> | undefined {
  return useContext(InitialContext)?.of(channel);
}

/** A channel that somebody closed under a mounted component is not an error of the component. */
function whileOpen<S extends object, P>(channel: Channel<S, P>, start: () => () => void): () => void {
  if (channel.status !== "closed") return start();
  warnOfClosed(channel);
  return nothing;
}

function nothing(): undefined {
  return undefined;
}

function itself<T>(value: T): T {
  return value;
}
