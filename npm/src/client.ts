/** The client: loads the core when it is first needed, hands out channels, and passes on what the core tells. */

import type { ChannelHost } from "./channel.js";
import { Channel, closedError } from "./channel.js";
import type { Names } from "./checks.js";
import { checkFunction, checkKnown } from "./checks.js";
import type { Core, CoreEvent, CoreWhy } from "./core.js";
import { callCore, TidewireError } from "./errors.js";
import { watchPlatform } from "./hints.js";
import { canFetch, canStream, Http } from "./http.js";
import { Deliveries, Listeners } from "./listeners.js";
import type { CoreClass, FindWasm } from "./load.js";
import { loadCore } from "./load.js";
import { MutationHandle } from "./mutation.js";
import { Mutations } from "./mutations.js";
import type { AnySchema, ClientEvents, ClientOptions, Connection, JsonSchema, Transport } from "./types.js";
import { socketUrl } from "./url.js";
import { LINGER_MS } from "./uses.js";
import { forgetClient, warnOfTwoClients } from "./warn.js";

const EVENTS: Names<ClientEvents> = { connection: 1, warning: 1 };

/** All of them, the best first. */
const TRANSPORTS: readonly Transport[] = ["websocket", "sse", "long-poll"];

const IDLE: Omit<Connection, "since" | "online"> = { state: "idle", transport: undefined, reason: undefined };

/** One connection to a server, shared by all channels. Made by `createClient`. */
export class Client {
  #options: ClientOptions;
  #findWasm: FindWasm;
  #deliveries = new Deliveries();
  #listeners = new Listeners<ClientEvents>(this.#deliveries);
  #connection: Connection = withOnline({ ...IDLE, since: Date.now() });

  /** `undefined`: nobody needs it, or it is on its way. */
  #core: Core | undefined;
  #http: Http | undefined;
  /** The store's id, what mutation ids begin with. */
  #client = "";
  #loading = false;
  #closed: TidewireError | undefined;
  #stopWatching: (() => void) | undefined;
  #linger: ReturnType<typeof setTimeout> | undefined;

  /** Handles that nobody holds any more may go; open channels are held by `#open`. */
  #channels = new Map<string, WeakRef<Channel<object>>>();
  #forgotten = new FinalizationRegistry<string>((name) => {
    if (!this.#channels.get(name)?.deref()) this.#channels.delete(name);
  });
  #open = new Set<Channel<object>>();
  #routes = new Map<number, Channel<object>>();

  #mutations = new Mutations();

  #calls = 0;
  #events: CoreEvent[] = [];
  #handling = false;
  #host: ChannelHost;

  /** @internal Use `createClient`. */
  constructor(options: ClientOptions, findWasm: FindWasm) {
    this.#options = options;
    this.#findWasm = findWasm;
    this.#host = {
      deliveries: this.#deliveries,
      want: (channel) => this.#want(channel),
      over: () => this.#over(),
      drop: (channel, id, closed) => this.#drop(channel, id, closed),
      read: (read) => {
        const core = this.#core as Core;
        return callCore(() => read(core));
      },
      command: (use, accept) => this.#command(use, accept),
      track: (handle, mutation, channel) => this.#mutations.add(handle, mutation, channel),
    };
  }

  /** The connection's state: a new object whenever it changes. */
  get connection(): Connection {
    return this.#connection;
  }

  /** Who the server says we are, once connected. */
  get principal(): string | undefined {
    return this.#core && callCore(() => this.#core?.principal());
  }

  /** The channel of a name, the same object while it is in use. Nothing happens before its first use. */
  channel<S extends JsonSchema<S> = AnySchema, P = unknown>(name: string): Channel<S, P> {
    if (this.#closed) throw this.#closed;
    if (typeof name !== "string") throw new TidewireError("invalid_channel", `a channel's name is text, not ${typeof name}`);
    let channel = this.#channels.get(name)?.deref();
    if (!channel) {
      channel = new Channel<object>(name, this.#host);
      this.#channels.set(name, new WeakRef(channel));
      this.#forgotten.register(channel, name, channel);
    }
    return channel as unknown as Channel<S, P>;
  }

  /** Listens to what the client tells. Returns how to stop that. */
  on<E extends keyof ClientEvents>(name: E, listener: (event: ClientEvents[E]) => void): () => void {
    checkKnown("an event of a client", name, EVENTS);
    checkFunction("the listener", listener);
    return this.#listeners.on(name, listener);
  }

  /** Connects, also when nothing is open yet; retries at once if the next attempt waits or none would come. */
  connect(): void {
    if (this.#closed) throw this.#closed;
    clearTimeout(this.#linger);
    this.#linger = undefined;
    if (this.#core) this.#command((core) => core.connect(), ignore);
    else void this.#load();
    this.#deliveries.run();
  }

  /**
   * Closes everything for good. A mutation that was not sent ends as `cancelled`, one that was sent and not
   * decided as `indeterminate`: await `committed` before, where that matters.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = closedError("the client was closed: create a new one");
    for (const channel of [...this.#open]) channel.detach(this.#closed);
    this.#unload(this.#closed);
    this.#moved({ state: "closed", transport: undefined, since: Date.now(), reason: this.#closed });
    this.#channels.clear();
    this.#deliveries.run();
  }

  // -------------------------------------------------------------- the core's life

  async #load(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    this.#moved({ state: "connecting", transport: undefined, since: Date.now(), reason: undefined });
    try {
      const url = socketUrl(this.#options.url);
      const websocket = this.#options.WebSocket ?? platformWebSocket();
      const transports = available(this.#options.transports ?? TRANSPORTS, websocket, this.#options.fetch);
      const Core = await loadCore(() => this.#options.wasm ?? this.#findWasm());
      this.#loading = false;
      // Closed, or let go by everybody, while it was loading.
      if (!this.#closed && this.#connection.state === "connecting") this.#start(Core, url, websocket, transports);
    } catch (thrown) {
      this.#loading = false;
      if (!this.#closed) this.#failed(asTidewireError(thrown));
    }
    this.#deliveries.run();
  }

  #start(Core: CoreClass, url: string, websocket: Function | undefined, transports: Transport[]): void {
    const entropy = crypto.getRandomValues(new Uint8Array(24));
    const { baseMs = 1000, maxMs = 30_000, attempts = -1 } = this.#options.retry ?? {};
    const flush = (events: CoreEvent[]): void => this.#flush(events);
    const http = new Http(url, this.#options.fetch, (answer) => {
      if (this.#http !== http) return;
      this.#command(answer, ignore);
      this.#deliveries.run();
    });
    const core = callCore(() => new Core(url, websocket, http, transports, flush, entropy, baseMs, maxMs, attempts));
    this.#core = core;
    this.#http = http;
    warnOfTwoClients(url, this);
    this.#stopWatching = watchPlatform((hint) => {
      this.#command((own) => own.network(hint), ignore);
      this.#deliveries.run();
    });
    this.#command((own) => own.connect(), ignore);
    for (const channel of [...this.#open]) this.#attach(channel);
  }

  /** Ends the session. The next use begins a new one. `cause`: why mutations have no outcome. */
  #unload(cause: TidewireError): void {
    clearTimeout(this.#linger);
    this.#linger = undefined;
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    const core = this.#core;
    if (!core) return;
    forgetClient(this);
    this.#core = undefined;
    this.#routes.clear();
    this.#calls += 1;
    try {
      callCore(() => core.close());
    } catch {
      // It stopped before; what it had to say was said.
    } finally {
      this.#calls -= 1;
    }
    this.#http?.stop();
    this.#http = undefined;
    // It sends what still can be sent, and says so.
    for (const event of this.#events.splice(0)) if (event[0] === "mutation") this.#handleMutation(event);
    this.#mutations.abandon(cause);
    this.#client = "";
    // Not now: one of its methods may be further up the stack.
    queueMicrotask(() => {
      try {
        core.free();
      } catch {
        // A core that stopped in the middle of a call cannot be freed; it goes with the page.
      }
    });
  }

  #failed(error: TidewireError): void {
    for (const channel of [...this.#open]) channel.fail(error);
    this.#moved({ state: "closed", transport: undefined, since: Date.now(), reason: error });
  }

  // --------------------------------------------------------- what channels ask for

  #want(channel: Channel<object>): void {
    if (this.#closed) throw this.#closed;
    clearTimeout(this.#linger);
    this.#linger = undefined;
    this.#open.add(channel);
    if (this.#core) this.#attach(channel);
    else void this.#load();
  }

  #attach(channel: Channel<object>): void {
    channel.attach((id) => this.#routes.set(id, channel));
  }

  #drop(channel: Channel<object>, id: number | undefined, closed: boolean): void {
    this.#open.delete(channel);
    if (closed && this.#channels.get(channel.name)?.deref() === channel) {
      this.#channels.delete(channel.name);
      this.#forgotten.unregister(channel);
    }
    if (id !== undefined && this.#core) {
      this.#routes.delete(id);
      this.#command((core) => core.unsubscribe(id), ignore);
    }
    if (this.#open.size > 0 || this.#closed) return;
    // A channel that was closed on purpose may be followed by another one; one that nobody used has waited already.
    if (closed) this.#linger ??= setTimeout(() => this.#restIfUnused(), LINGER_MS);
    else this.#restIfUnused();
  }

  /** Nobody uses anything, and every mutation has its outcome: no socket, no timer, no listener is left. */
  #restIfUnused(): void {
    this.#linger = undefined;
    if (this.#open.size > 0 || this.#mutations.undecided > 0) return;
    this.#unload(closedError("nobody used the client any more"));
    this.#moved({ ...IDLE, since: Date.now() });
    this.#deliveries.run();
  }

  // ------------------------------------------------------- calls and what follows

  #command<T>(use: (core: Core) => T, accept: (result: T) => void): void {
    const core = this.#core;
    if (!core) throw this.#closed ?? closedError("the client is not connected: use connect()");
    this.#calls += 1;
    let stopped: TidewireError | undefined;
    try {
      accept(callCore(() => use(core)));
    } catch (thrown) {
      if (thrown instanceof TidewireError && thrown.code === "internal") stopped = thrown;
      throw thrown;
    } finally {
      this.#calls -= 1;
      if (stopped && this.#core === core) this.#coreStopped(stopped);
      else this.#handleEvents();
    }
  }

  #coreStopped(error: TidewireError): void {
    this.#unload(error);
    this.#failed(error);
    this.#deliveries.run();
  }

  /** The core calls this at most once per turn, while nothing in it is borrowed. */
  #flush(events: CoreEvent[]): void {
    for (const event of events) this.#events.push(event);
    // Inside a command its result comes first; `#command` goes on from there.
    if (this.#calls > 0) return;
    this.#handleEvents();
    this.#deliveries.run();
  }

  #handleEvents(): void {
    if (this.#calls > 0 || this.#handling) return;
    this.#handling = true;
    try {
      while (this.#events.length > 0) {
        const events = this.#events;
        this.#events = [];
        // First what invalidates, then what makes callbacks: whoever reads finds the new state.
        for (const event of events) {
          if (event[0] === "changed") this.#routes.get(event[1])?.changed(event[2]);
        }
        for (const event of events) this.#handle(event);
      }
    } finally {
      this.#handling = false;
    }
  }

  #handle(event: CoreEvent): void {
    switch (event[0]) {
      case "changed":
        return;
      case "token":
        void this.#fetchToken();
        return;
      case "connection": {
        const [, state, transport, since, ...reason] = event;
        const error = reason.length === 0 ? undefined : fromReason(reason);
        this.#moved({ state, transport, since, reason: error });
        const over = this.#over();
        if (over) for (const channel of this.#open) channel.disconnected(over);
        return;
      }
      case "warning": {
        const [, id, ...reason] = event;
        const channel = id === undefined ? undefined : this.#routes.get(id);
        if (channel) channel.handle(event);
        else this.#listeners.emit("warning", fromReason(reason));
        return;
      }
      case "mutation":
        this.#handleMutation(event);
        return;
      default:
        this.#routes.get(event[1])?.handle(event);
    }
  }

  #handleMutation([, id, handle, status, n, ...reason]: Extract<CoreEvent, ["mutation", ...unknown[]]>): void {
    const tracked = this.#mutations.moved(handle, status);
    const channel = tracked?.channel ?? this.#routes.get(id);
    // One that was committed too long ago to be remembered can still be lost.
    const mutation = tracked?.mutation ?? new MutationHandle({ cancel: () => false }, [], {}, this.#deliveries);
    if (n !== undefined && channel && mutation.id === undefined) {
      this.#client ||= this.#core?.client_id() ?? "";
      mutation.id = `${this.#client}:${n}@${channel.name}`;
    }
    channel?.mutationMoved(mutation, status, reason);
    if (this.#core && this.#open.size === 0 && this.#linger === undefined) this.#restIfUnused();
  }

  #over(): TidewireError | undefined {
    const { state, reason } = this.#connection;
    return state === "closed" ? (reason ?? closedError("the connection was closed: use connect()")) : undefined;
  }

  #moved(connection: Omit<Connection, "online">): void {
    this.#connection = withOnline(connection);
    this.#listeners.emit("connection", this.#connection);
  }

  /** One at a time: the core asks again only after an answer. */
  async #fetchToken(): Promise<void> {
    const core = this.#core;
    const { token: source = "" } = this.#options;
    let answer: (core: Core) => void;
    try {
      const token: unknown = typeof source === "function" ? await inTime(source) : source;
      if (typeof token !== "string") {
        throw new TidewireError("token", `token() gave ${typeof token}: it must give a string`);
      }
      // Never answered from inside the event that asked.
      await undefined;
      answer = (own) => own.token(token);
    } catch (thrown) {
      const error = asTidewireError(thrown, "token", true);
      answer = (own) => own.token_failed(error.retryable, error.message);
    }
    if (this.#core !== core) return;
    this.#command(answer, ignore);
    this.#deliveries.run();
  }
}

/** How long the application may take to hand out a token; then that counts as a failure to be retried. */
const TOKEN_TIMEOUT_MS = 30_000;

async function inTime(source: () => string | Promise<string>): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new TidewireError("token", `no token within ${TOKEN_TIMEOUT_MS / 1000} s`, { retryable: true }));
    }, TOKEN_TIMEOUT_MS);
  });
  try {
    return await Promise.race([source(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function platformWebSocket(): Function | undefined {
  return (globalThis as { WebSocket?: Function }).WebSocket;
}

/** What of the wanted transports this platform has. Errors: `websocket_missing`, if that is none. */
function available(wanted: readonly Transport[], websocket: Function | undefined, ask: typeof fetch | undefined): Transport[] {
  const has: Record<Transport, boolean> = { websocket: websocket !== undefined, sse: canStream(ask), "long-poll": canFetch(ask) };
  const found = wanted.filter((transport) => has[transport]);
  if (found.length > 0) return found;
  throw new TidewireError(
    "websocket_missing",
    `this platform has none of the transports ${wanted.join(", ")}: name others, or npm install ws, then ` +
      'import { WebSocket } from "ws" and createClient({ WebSocket, … })',
  );
}

function asTidewireError(thrown: unknown, code = "internal", retryable = false): TidewireError {
  if (thrown instanceof TidewireError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new TidewireError(code, message, { retryable, cause: thrown });
}

function withOnline(connection: Omit<Connection, "online">): Connection {
  const { state } = connection;
  return Object.freeze({ ...connection, online: state === "connected" || state === "draining" });
}

/** A reason, and where there is one, its cause. */
function fromReason([code, detail, retryable, ...cause]: CoreWhy): TidewireError {
  const options = cause.length === 0 ? { retryable } : { retryable, cause: fromReason(cause) };
  return new TidewireError(code, detail === "" ? code : detail, options);
}

function ignore(): void {}
