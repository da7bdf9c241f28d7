import type { Client } from "tidewire";
import { Store } from "./store.ts";

/** Why no better transport is in use, while the page is connected over another one than a WebSocket. */
export const fall = new Store<string | undefined>(undefined);

/** The state of a connection that works has no reason: what was told on the way there is kept. */
export function watchFall(client: Client): void {
  let last: string | undefined;
  client.on("connection", ({ online, transport, reason }) => {
    if (reason) last = reason.message;
    else if (online && transport === "websocket") last = undefined;
    fall.set(online && transport !== "websocket" ? last : undefined);
  });
}
