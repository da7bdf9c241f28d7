import type { TidewireError } from "tidewire";
import { useChannelStatus, useConnection } from "tidewire/react";
import type { BoardChannel } from "../model.ts";

export type Ready = { state: "loading" } | { state: "ready" } | { state: "failed"; error: TidewireError };

/** Whether the board can be shown: from the first view that the server sent, unless it is refused. */
export function useReady(channel: BoardChannel): Ready {
  const status = useChannelStatus(channel);
  const connection = useConnection();

  if (status === "live" || status === "stale") return { state: "ready" };
  // Without a view, a connection that will not come back is the end too: the token was refused, say.
  const error = channel.error ?? (connection.state === "closed" ? connection.reason : undefined);
  return error ? { state: "failed", error } : { state: "loading" };
}
