// A session over a stream of server-sent events, with POSTs beside it. One event is one message.

import { EventStream } from "./event-stream.js";
import { HttpSession } from "./http-session.js";

export class SseLink extends HttpSession {
  #beatAt = 0;

  async listen() {
    const response = await this.ask("/v1/sse", {});
    if (!response?.headers.get("content-type")?.startsWith("text/event-stream")) return;
    const message = (type, data) => this.owner.message(this.codec.fromEvent(type, data));
    // Base64 takes a third more than the message.
    const events = new EventStream(message, 2 * this.maxFrame);
    for await (const chunk of response.body) {
      await this.reading;
      if (this.signal.aborted) return;
      events.take(chunk);
    }
  }

  /** Any POST shows that the client lives: a heartbeat is answered if there was none since the one before. */
  pong(t) {
    if (this.posts.at <= this.#beatAt) this.send({ pong: { t } });
    this.#beatAt = Date.now();
  }
}
