// A session over long polls, with POSTs beside it. One answer is one message.

import { setTimeout as pause } from "node:timers/promises";
import { HttpSession } from "./http-session.js";
import { bytesOf } from "./request.js";

/** From the start of a poll that said nothing to the next one: something on the way may not hold requests. */
const EMPTY_MS = 1_000;

export class LongPollLink extends HttpSession {
  async listen() {
    for (let poll = 1; ; poll += 1) {
      const began = Date.now();
      const response = await this.ask("/v1/poll", { poll });
      // Anything but a whole 200 may have carried a message.
      if (!response || response.headers.get("content-type") !== this.codec.mediaType) return;
      const bytes = await bytesOf(response);
      await this.reading;
      if (this.signal.aborted) return;
      this.owner.message(bytes);
      if (this.codec.decode(bytes).length === 0) await pause(began + EMPTY_MS - Date.now(), undefined, { signal: this.signal });
    }
  }

  /** The next poll is the sign of life. */
  pong() {}
}
