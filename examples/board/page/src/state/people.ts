// Who else is here, without their cursors: those move twenty times a second and have a layer of their own.

import { safeColor } from "../identity.ts";
import type { Here } from "../model.ts";
import { Store } from "./store.ts";

export interface Person {
  peer: number;
  name: string;
  color: string;
  /** The card that they are editing. */
  card?: string;
}

export interface RawPeer {
  peer: number;
  principal: string;
  data?: unknown;
}

/** Reads what a peer sent; any of it may be missing or wrong. */
export function readHere(peer: RawPeer): Here {
  const data = (typeof peer.data === "object" && peer.data !== null ? peer.data : {}) as Record<
    string,
    unknown
  >;
  const name =
    typeof data["name"] === "string" && data["name"].trim() ? data["name"].slice(0, 40) : peer.principal;
  const cursor = data["cursor"] as { x?: unknown; y?: unknown } | null | undefined;
  return {
    name,
    color: safeColor(data["color"], name),
    ...(typeof cursor?.x === "number" && typeof cursor.y === "number"
      ? { cursor: { x: cursor.x, y: cursor.y } }
      : {}),
    ...(typeof data["card"] === "string" ? { card: data["card"] } : {}),
  };
}

export class People {
  readonly store = new Store<readonly Person[]>([]);

  /** Takes the newest list; a person who has not changed stays the same object. */
  update(peers: readonly RawPeer[]): void {
    const known = new Map(this.store.value.map((person) => [person.peer, person]));
    const people = peers.map((raw) => {
      const { name, color, card } = readHere(raw);
      const before = known.get(raw.peer);
      if (before && before.name === name && before.color === color && before.card === card) return before;
      return { peer: raw.peer, name, color, ...(card === undefined ? {} : { card }) };
    });
    const same =
      people.length === this.store.value.length && people.every((each, at) => each === this.store.value[at]);
    if (!same) this.store.set(people);
  }
}
