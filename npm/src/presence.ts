/** Who else is on a channel, and what this client says about itself. */

import { TidewireError } from "./errors.js";
import { toJson } from "./json.js";
import { freeze } from "./records.js";
import type { Peer } from "./types.js";

/** What presence needs of its channel. */
export interface PresenceHost {
  /** Tells the core, if the channel is open in it. */
  setPresence(json: string | undefined): void;
  /** Flat: number, principal, JSON text. */
  peers(): readonly unknown[];
}

/** Presence on a channel; `P` is what peers say about themselves. */
export class Presence<P = unknown> {
  #host: PresenceHost;
  #own: string | undefined;
  #peers: readonly Peer<P>[] = NOBODY;
  #known = new Map<number, { text: string; peer: Peer<P> }>();
  #fresh = true;

  constructor(host: PresenceHost) {
    this.#host = host;
  }

  /** Everybody else who said something, the same array until that changes. */
  get peers(): readonly Peer<P>[] {
    if (!this.#fresh) {
      this.#peers = this.#read();
      this.#fresh = true;
    }
    return this.#peers;
  }

  /** Says something about this client to everybody on the channel; frequent calls are thinned out. At most 4 KiB of JSON. */
  set(data: P): void {
    if (data === undefined) throw new TidewireError("invalid", "presence of undefined is not JSON: use clear() to be absent");
    const json = toJson("presence", data);
    this.#host.setPresence(json);
    this.#own = json;
  }

  /** No longer present. */
  clear(): void {
    this.#host.setPresence(undefined);
    this.#own = undefined;
  }

  /** @internal What to say once the channel is open. */
  get own(): string | undefined {
    return this.#own;
  }

  /** @internal Somebody came, went or moved. */
  changed(): void {
    this.#fresh = false;
  }

  /** @internal The channel is gone. */
  reset(): void {
    this.#own = undefined;
    this.#peers = NOBODY;
    this.#known.clear();
    this.#fresh = true;
  }

  #read(): readonly Peer<P>[] {
    const flat = this.#host.peers();
    const known = new Map<number, { text: string; peer: Peer<P> }>();
    const peers: Peer<P>[] = [];
    for (let at = 0; at + 2 < flat.length; at += 3) {
      const [number, principal, text] = flat.slice(at, at + 3) as [number, string, string | undefined];
      if (text === undefined) continue;
      let entry = this.#known.get(number);
      if (entry?.text !== text || entry.peer.principal !== principal) {
        const data = freeze(JSON.parse(text)) as Peer<P>["data"];
        entry = { text, peer: Object.freeze({ peer: number, principal, data }) };
      }
      known.set(number, entry);
      peers.push(entry.peer);
    }
    this.#known = known;
    return Object.freeze(peers);
  }
}

const NOBODY: readonly never[] = Object.freeze([]);
