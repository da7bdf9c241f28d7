import { useEffect, useState } from "react";
import type { Channel, TidewireError } from "tidewire";
import type { BoardData } from "../model.ts";

export type Ready = { state: "loading" } | { state: "ready" } | { state: "failed"; error: TidewireError };

/** Whether the board can be shown: from the first view that the server sent, until the channel fails. */
export function useReady(channel: Channel<BoardData>): Ready {
  const [ready, setReady] = useState<Ready>({ state: "loading" });
  useEffect(() => {
    let left = false;
    channel.ready().then(
      () => !left && setReady({ state: "ready" }),
      (error: TidewireError) => !left && setReady({ state: "failed", error }),
    );
    return () => {
      left = true;
    };
  }, [channel]);
  return ready;
}
