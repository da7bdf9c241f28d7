// A move (§6): a next link beside the current one. Every channel asks there, and is served by the current link until
// its answer counts.

const MOVE_MS = 10_000;

export class Move {
  done = false;
  #until = Infinity;

  constructor(link, transport, channels) {
    Object.assign(this, { link, transport, channels });
  }

  /** The next link was welcomed. */
  begin(now) {
    this.#until = now + MOVE_MS;
    for (const channel of this.channels) channel.askOn(this.link);
  }

  /** Whether the next link can take over, or had its time. */
  over(now) {
    if (!this.link.welcome) return false;
    this.done = this.channels.every((channel) => channel.state === "failed" || channel.isOn(this.link));
    return this.done || now > this.#until;
  }

  end() {
    this.link.close(1000);
  }
}
