// The way up of a session over HTTP: one POST at a time, and what one said is kept until it is answered.

import { setTimeout as pause } from "node:timers/promises";
import { bytesOf, pauseOf, refusalIn, request } from "./request.js";

const ANSWER_MS = 15_000;
const FAILURES = 3;
/** What refuses the client as a fatal `error` on a link does. */
const REFUSALS = new Set([400, 401, 403]);
/** The server is there, and asks to wait. */
const LATER = new Set([429, 503]);

export class Posts {
  /** When the last one was sent. */
  at = 0;
  #waiting = [];
  #busy = false;
  #number = 0;
  #failures = 0;
  #session;
  #backoff;

  /** `session` gives url, codec, hello(fields), room, signal and owner; `backoff` is base and cap of the pauses. */
  constructor(session, backoff) {
    this.#session = session;
    this.#backoff = backoff;
  }

  send(frame) {
    this.#waiting.push(this.#session.codec.encode(frame));
    this.#go();
  }

  /** With what was not answered, and without waiting for the POST that is under way. Nobody hears how it went. */
  last(frames) {
    const messages = [...this.#waiting, ...frames.map((frame) => this.#session.codec.encode(frame))];
    this.#post(messages).then(bytesOf).catch(() => {});
  }

  async #go() {
    if (this.#busy) return;
    this.#busy = true;
    await null; // the rest of a burst goes along
    while (this.#waiting.length && !this.#session.signal.aborted) await this.#one();
    this.#busy = false;
  }

  async #one() {
    const said = this.#fill();
    let response, bytes, error;
    try {
      response = await this.#post(said);
      bytes = await bytesOf(response);
      if (response.status !== 200) error = refusalIn(response, this.#session.codec, bytes);
    } catch {
      response = null;
    }
    const { owner, signal } = this.#session;
    if (signal.aborted) return;
    const status = response?.status;
    if (status === 200) {
      this.#failures = 0;
      this.#waiting.splice(0, said.length);
      owner.answer(bytes);
      return;
    }
    if (error && REFUSALS.has(status)) owner.failed(error);
    // Whoever says in our codec to come later is there: that is no failure.
    const fails = error ? !LATER.has(status) : ++this.#failures === FAILURES;
    if (fails) this.#session.end();
    else await pause(Math.max(this.#pause(), response ? pauseOf(response, error) : 0), undefined, { signal }).catch(() => {});
  }

  #pause() {
    const { base, cap } = this.#backoff;
    return Math.random() * Math.min(cap, base * 2 ** this.#failures);
  }

  /** As many messages, in order, as one body may hold. */
  #fill() {
    let room = this.#session.room;
    const end = this.#waiting.findIndex((message) => (room -= Buffer.byteLength(message)) < 0);
    return end < 0 ? [...this.#waiting] : this.#waiting.slice(0, Math.max(1, end));
  }

  #post(messages) {
    const { url, codec, signal } = this.#session;
    // A number of its own each time, so that a copy that was held up on its way is known by its lower one.
    const hello = codec.encode({ hello: this.#session.hello({ poll: ++this.#number }) });
    this.at = Date.now();
    return request(`${url}/v1/push`, codec, codec.join([hello, ...messages]), { signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]) });
  }
}
