/**
 * Hooks. They count as uses of a channel while a component is mounted, and 5 seconds more, so that
 * StrictMode's double mounting and a change of page open one connection. Nothing happens while
 * rendering, so none of this opens anything on a server.
 */

"use client";

import type { FunctionComponentElement, ProviderProps, ReactNode } from "react";
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import type { Channel } from "./channel.js";
import type { Client } from "./client.js";
import { TidewireError } from "./errors.js";
import type {
  ChannelStatus,
  CollectionName,
  Connection,
  Mutation,
  MutationStatus,
  Peer,
  RecordOf,
  SelectOptions,
} from "./types.js";

const ClientContext = createContext<Client | undefined>(undefined);

/** Gives the client to the hooks below it. It neither connects nor closes it. */
export function TidewireProvider(props: {
  client: Client;
  children?: ReactNode;
}): FunctionComponentElement<ProviderProps<Client | undefined>> {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

/** The client of the provider above. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  if (!client) {
    throw new TidewireError("invalid", "no tidewire client here: render this below <TidewireProvider client={…}>");
  }
  return client;
}

/** The channel of a name, held open while the component is mounted. */
export function useChannel<S extends object, P = unknown>(name: string): Channel<S, P> {
  const client = useClient();
  const channel = client.channel<S, P>(name);
  useEffect(() => whileOpen(channel, () => channel.retain()), [channel]);
  return channel;
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

/** One record; the component renders again when it looks different, and for no other record. */
export function useRecord<S extends object, P, C extends CollectionName<S>>(
  channel: Channel<S, P>,
  collection: C,
  id: string,
): RecordOf<S, C> | undefined {
  const subscribe = useWatch(channel, collection, id);
  return useSyncExternalStore(subscribe, () => channel.get(collection, id), nothing);
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

/**
 * Records of a collection; the component renders again when one of them looks different. With
 * functions written inside the component the selection is made anew at each render: correct, but
 * keep them outside or in `useCallback` where collections are large.
 */
export function useCollection<S extends object, P, C extends CollectionName<S>>(
  channel: Channel<S, P>,
  collection: C,
  options?: SelectOptions<RecordOf<S, C>>,
): readonly RecordOf<S, C>[] {
  const subscribe = useWatch(channel, collection);
  const last = useRef<readonly RecordOf<S, C>[]>(NOTHING);
  const read = (): readonly RecordOf<S, C>[] => {
    const items = channel.select(collection, options);
    // A selection that is new, but selects the same, is the same to whoever renders it.
    if (items.length !== last.current.length || items.some((record, at) => record !== last.current[at])) {
      last.current = items;
    }
    return last.current;
  };
  return useSyncExternalStore(subscribe, read, () => NOTHING);
}

/**
 * Who else is on a channel. With `mine`, also says that about this client, until the component
 * unmounts. For what moves with the pointer call `channel.presence.set` instead.
 */
export function usePresence<S extends object, P>(channel: Channel<S, P>, mine?: P): readonly Peer<P>[] {
  const subscribe = useCallback((wake: () => void) => whileOpen(channel, () => channel.on("presence", wake)), [channel]);
  const json = mine === undefined ? undefined : JSON.stringify(mine);
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
    () => SERVER,
  );
}

const SERVER: Connection = Object.freeze({ state: "idle", transport: undefined, since: 0, reason: undefined });

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
  return useCallback(
    (wake) =>
      whileOpen(channel, () =>
        id === undefined ? channel.watch(collection, wake) : channel.watch(collection, id, wake),
      ),
    [channel, collection, id],
  );
}

/** A channel that somebody closed under a mounted component is not an error of the component. */
function whileOpen<S extends object, P>(channel: Channel<S, P>, start: () => () => void): () => void {
  return channel.status === "closed" ? nothing : start();
}

function nothing(): undefined {
  return undefined;
}
