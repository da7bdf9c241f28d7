/**
 * Requests for networks that let no WebSocket through (docs/protocol/http.md). The core says which, and what they mean;
 * here `fetch` does them.
 */

import { heldPlace } from "./places.js";

/** What a core is told. Calls come one by one, never from inside `request`. */
export interface Answers {
  chunk(conn: number, bytes: Uint8Array): void;
  stream_closed(conn: number, detail: string): void;
  response(
    conn: number,
    request: number,
    status: number,
    retryAfterMs: number,
    unheld: boolean,
    body: Uint8Array,
    detail: string,
  ): void;
  probed(probe: number, found: string): void;
}

interface Running {
  readonly conn: number;
  readonly last: boolean;
  readonly abort: AbortController;
  /** Ends once the server has these last words: what its link had under way. */
  then?: () => void;
}

/** A server that does not take last words in this time is left without. */
const LAST_WORDS_MS = 2000;

const MEDIA_TYPE = "application/vnd.tidewire.v1+proto";

/** No body that a server of ours sends is larger. */
const BODY_BYTES_MAX = 1 << 20;

const NOTHING = new Uint8Array();

/** Whether a response can be read while it comes. */
export function canStream(ask?: typeof fetch): boolean {
  return canFetch(ask) && typeof ReadableStream === "function" && "body" in Response.prototype;
}

/** Whether there are requests at all, by the application's function or by the platform's. */
export function canFetch(ask?: typeof fetch): boolean {
  return (ask !== undefined || typeof fetch === "function") && typeof AbortController === "function";
}

/** The requests of one core. */
export class Http {
  #base: string;
  #ask: typeof fetch;
  #tell: (answer: (core: Answers) => void) => void;
  #running = new Map<number, Running>();
  #probe: AbortController | undefined;

  /** `socketUrl`: of the WebSocket. `ask`: instead of `fetch`. `tell`: hands an answer to the core, unless it is gone. */
  constructor(socketUrl: string, ask: typeof fetch | undefined, tell: (answer: (core: Answers) => void) => void) {
    this.#base = socketUrl.replace(/^ws/, "http").replace(/\/v1\/ws$/, "");
    // The platform's may not be a method of ours.
    this.#ask = (input, init) => (ask ?? fetch)(input, init);
    this.#tell = tell;
  }

  /** Does a request and tells its answer. */
  request(conn: number, request: number, path: string, body: Uint8Array, last: boolean): void {
    const abort = new AbortController();
    this.#running.set(request, { conn, last, abort });
    void this.#run(conn, request, path, body, last, abort.signal);
  }

  /** Nobody wants this request's answer. */
  abort(request: number): void {
    const running = this.#running.get(request);
    this.#running.delete(request);
    running?.abort.abort();
  }

  /** A link is over: so are its requests, but the one with its last words, which the server has to have before it misses the others. */
  close(conn: number): void {
    const own = [...this.#running].filter(([, running]) => running.conn === conn);
    const others = own.filter(([, { last }]) => !last);
    for (const [request] of others) this.#running.delete(request);
    const end = (): void => others.forEach(([, { abort }]) => abort.abort());
    const last = own.find(([, running]) => running.last && !running.then)?.[1];
    if (!last) return end();
    const timer = setTimeout(end, LAST_WORDS_MS);
    last.then = () => {
      clearTimeout(timer);
      end();
    };
  }

  /** Finds out who answers: `live`, `stranger` or `nobody`. */
  probe(probe: number): void {
    this.#probe?.abort();
    const abort = (this.#probe = new AbortController());
    void this.#find(probe, abort.signal).then((found) => {
      if (!abort.signal.aborted) this.#tell((core) => core.probed(probe, found));
    });
  }

  /** All is over. */
  stop(): void {
    this.#probe?.abort();
    for (const [request, { last }] of this.#running) if (!last) this.abort(request);
  }

  async #run(
    conn: number,
    request: number,
    path: string,
    body: Uint8Array,
    last: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    // Whoever asked is done with its own work first.
    await undefined;
    const isStream = path === "/v1/sse";
    const isHeld = isStream || path === "/v1/poll";
    const place = isHeld ? await heldPlace(signal) : undefined;
    const unheld = isHeld && !place;
    let streams = false;
    let status = 0;
    let retryAfterMs = -1;
    let said: Uint8Array = NOTHING;
    let detail = "";
    try {
      if (isStream && unheld) throw new Error("other tabs of this browser have all places for requests that last");
      const response = await this.#ask(this.#base + path, {
        method: "POST",
        headers: { "content-type": MEDIA_TYPE, ...(unheld && { prefer: "wait=0" }) },
        body: body as Uint8Array<ArrayBuffer>,
        signal,
        cache: "no-store",
        credentials: "same-origin",
        redirect: "manual",
        keepalive: last,
      });
      if (response.type === "opaqueredirect") throw new Error(leadsElsewhere(this.#base));
      const kind = response.headers.get("content-type") ?? "";
      retryAfterMs = retryAfter(response.headers.get("retry-after"));
      if (isStream && response.status === 200 && kind.startsWith("text/event-stream")) {
        streams = true;
        await this.#read(response, (chunk) => {
          if (this.#running.has(request)) this.#tell((core) => core.chunk(conn, chunk));
        });
        detail = "the stream ended";
      } else {
        said = await whole(response);
        if (response.status === 200 && kind !== MEDIA_TYPE) throw new Error(`something else answers in the server's place, with ${kind || "no type"}`);
        status = response.status;
      }
    } catch (thrown) {
      detail = messageOf(thrown) + originHint(this.#base);
    } finally {
      place?.();
    }
    const running = this.#running.get(request);
    this.#running.delete(request);
    running?.then?.();
    // Aborted: nobody wants to know.
    if (!running) return;
    // A link is its stream: what else it has under way goes with it.
    if (streams) this.close(conn);
    this.#tell((core) => {
      if (streams) core.stream_closed(conn, detail);
      else core.response(conn, request, status, retryAfterMs, unheld, said, detail);
    });
  }

  async #read(response: Response, take: (chunk: Uint8Array) => void): Promise<void> {
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      take(value);
    }
  }

  async #find(probe: number, signal: AbortSignal): Promise<string> {
    // No cache has seen this address.
    const url = `${this.#base}/health/live?${probe}-${Date.now()}`;
    const asked: RequestInit = { cache: "no-store", credentials: "same-origin", redirect: "manual", signal };
    try {
      const response = await this.#ask(url, asked);
      const said = new TextDecoder().decode(await whole(response));
      if (response.status === 200 && said.trim() === "live") return "live";
      return response.status >= 500 ? "nobody" : "stranger";
    } catch {
      // Whoever does not know our origin may not be read; that somebody answers is all that is asked.
      return this.#ask(url, { ...asked, mode: "no-cors", redirect: "follow" }).then(
        () => "stranger",
        () => "nobody",
      );
    }
  }
}

/** A body, unless it is larger than any of ours. */
async function whole(response: Response): Promise<Uint8Array> {
  const reader = response.body?.getReader?.();
  if (!reader) {
    const body = new Uint8Array(await response.arrayBuffer());
    if (body.length > BODY_BYTES_MAX) throw new Error("the answer is too large");
    return body;
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    if (length > BODY_BYTES_MAX) {
      void reader.cancel().catch(() => {});
      throw new Error("the answer is too large");
    }
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** Seconds, or a date; -1: neither. */
function retryAfter(text: string | null): number {
  if (text === null) return -1;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return ms >= 0 ? ms : -1;
}

/** A page may not see where a redirect leads; mostly it is to TLS. */
function leadsElsewhere(base: string): string {
  const secure = base.startsWith("http:") ? `, perhaps to ${base.replace("http:", "https:")}` : "";
  return `the server's URL leads elsewhere${secure}: connect to where it leads`;
}

/** Why a page of another origin is told so little. */
function originHint(base: string): string {
  const { origin } = (globalThis as { location?: { origin?: string } }).location ?? {};
  if (!origin || origin === "null" || new URL(base).origin === origin) return "";
  return ` (the server's log says so if its allow_origin lacks this page's origin, ${origin})`;
}

/** What the platform says, and why if it says that. */
function messageOf(thrown: unknown): string {
  const { message, cause } = (thrown ?? {}) as { message?: string; cause?: { message?: string } };
  return cause?.message ? `${message}: ${cause.message}` : String(message ?? thrown);
}
