// A channel's subscribe on the next link of a move (§5), beside the stream that it has. Its answer is judged by its
// log and not by its place, since the base goes on meanwhile.

import { order, same } from "./cursor.js";
import { Snapshot } from "./snapshot.js";

export class Ask {
  #channel;
  #snapshot = null;
  #resume = null;
  #at = 0;
  #pause = 100;

  constructor(link, channel) {
    this.link = link;
    this.#channel = channel;
    this.#ask();
  }

  tick(now) {
    if (this.#at && now >= this.#at) this.#ask();
  }

  receive(kind, frame) {
    if (kind === "resume") this.#hearResume(frame);
    else if (kind === "snapshotBegin") this.#begin(frame);
    else if (kind === "snapshotPart") this.#snapshot?.add(frame.records);
    else if (kind === "snapshotEnd" && this.#snapshot) this.#end(frame);
    else if (kind === "lagged" && (this.#resume || this.#snapshot)) this.#again();
    else if (kind === "error" && frame.retryMs !== undefined) this.#at = Date.now() + frame.retryMs;
  }

  /** The base went on: of a live channel a `resume` counts once the base is at the head that it names. */
  look() {
    const { state, cursor } = this.#channel;
    if (this.#resume && (state !== "live" || order(cursor, this.#resume.head) >= 0)) this.#channel.move(this.link, this.#resume);
  }

  #ask() {
    this.#at = 0;
    this.#resume = this.#snapshot = null;
    this.link.send(this.#channel.subscription());
  }

  #again() {
    this.#pause = Math.min(10_000, this.#pause * 2);
    this.#at = Date.now() + this.#pause;
    this.#resume = this.#snapshot = null;
  }

  #hearResume(resume) {
    const { cursor, maxEpoch } = this.#channel;
    const continues = cursor && (resume.head.epoch === cursor.epoch || same(resume.from, cursor));
    if (!continues || resume.head.epoch < maxEpoch) return this.#again();
    this.#resume = resume;
    this.look();
  }

  #begin(frame) {
    this.#snapshot = new Snapshot(frame);
    if (this.#isOld()) this.#again();
  }

  #end(end) {
    if (!this.#snapshot.isWhole(end) || this.#isOld()) return this.#again();
    this.#channel.move(this.link, this.#snapshot);
  }

  #isOld() {
    const { cursor, maxEpoch } = this.#channel;
    return this.#snapshot.cursor.epoch < maxEpoch || (cursor && order(this.#snapshot.cursor, cursor) < 0);
  }
}
