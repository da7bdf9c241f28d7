// What the two transports over HTTP have in common: the handle, the POSTs and the end. How messages come down is the
// matter of each.

import { Posts } from "./posts.js";
import { bytesOf, refusalIn, request } from "./request.js";

const GOODBYE_MS = 1_000;
/** A hello with the longest token takes less. */
const HELLO_BYTES = 17 * 1024;
/** What the client has to know of: who is refused, and who is asked to wait. Anything else is a link that broke. */
const TOLD = new Set([400, 401, 403, 429, 503]);

export class HttpSession {
  /** What was said may arrive more than once. */
  copies = true;
  url;
  codec;
  owner;
  /** Bytes that frames may take in one body. */
  room = 0;
  posts;
  #hello;
  #handle = null;
  #author = null;
  #abort = new AbortController();
  /** Resolves once nobody pauses. */
  reading = null;
  #open;

  constructor({ url, codec, hello, maxFrame, owner, backoff }) {
    Object.assign(this, { url, codec, owner, maxFrame });
    this.#hello = hello;
    this.posts = new Posts(this, backoff);
    // Out of the constructor first: nobody knows this link yet.
    queueMicrotask(() => this.#run());
  }

  get signal() {
    return this.#abort.signal;
  }

  /** The first frame of each body. */
  hello(fields) {
    return { ...this.#hello(), ...(this.#handle && { session: this.#handle, expectAuthor: this.#author }), ...fields };
  }

  welcomed({ home, session, author, limits }) {
    this.#handle = Buffer.alloc(20);
    this.#handle.writeUInt32BE(home);
    session.copy(this.#handle, 4);
    this.#author = author;
    this.room = limits.frameUpBytes - HELLO_BYTES;
  }

  send(frame) {
    this.posts.send(frame);
  }

  /**
   * The session has to be there when its goodbye comes, and that the POST was answered does not say that it heard it:
   * the `pong` that follows does.
   */
  leave(frames) {
    if (this.signal.aborted) return;
    const heard = (bytes) => this.codec.decode(bytes).some(({ kind }) => kind === "pong") && this.close();
    this.owner = { message: heard, answer() {}, failed() {}, ended() {} };
    const late = setTimeout(() => this.close(), GOODBYE_MS);
    this.signal.addEventListener("abort", () => clearTimeout(late));
    this.posts.last([...frames, { ping: { t: 0 } }]);
  }

  close() {
    this.#abort.abort();
  }

  cut() {
    this.end();
  }

  pause() {
    this.reading = new Promise((open) => (this.#open = open));
  }

  resume() {
    this.#open();
  }

  /** The session is over: the owner is told once. */
  end() {
    if (this.signal.aborted) return;
    this.#abort.abort();
    this.owner.ended();
  }

  async #run() {
    try {
      await this.listen();
    } catch {
      // A broken request, or bytes that are no stream: either way the link broke.
    }
    this.end();
  }

  /** A request of the way down. What refuses it is told, and null. */
  async ask(door, fields) {
    const body = this.codec.encode({ hello: this.hello(fields) });
    const response = await request(`${this.url}${door}`, this.codec, body, { signal: this.signal });
    if (response.status === 200) return response;
    const error = refusalIn(response, this.codec, await bytesOf(response));
    if (error && TOLD.has(response.status)) this.owner.failed(error);
    return null;
  }
}
