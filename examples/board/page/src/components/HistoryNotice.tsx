import { useEffect, useState } from "react";
import { useDesk } from "../state/context.ts";
import { AlertIcon, CloseIcon } from "./Icons.tsx";

/** Stays until it was read: the server came back without its history, and what is shown may be older. */
export function HistoryNotice() {
  const { channel } = useDesk();
  const [isLost, setLost] = useState(false);
  const [count, setCount] = useState(0);
  useEffect(() => {
    const stops = [
      channel.on("history_lost", () => setLost(true)),
      // A change of one's own that the server had confirmed, one call for each.
      channel.on("lost", () => setCount((before) => before + 1)),
    ];
    return () => stops.forEach((stop) => stop());
  }, [channel]);
  if (!isLost) return null;
  const close = (): void => {
    setLost(false);
    setCount(0);
  };
  return (
    <div className="history-notice" role="alert" data-testid="history-lost">
      <AlertIcon />
      <p>
        <strong>The server lost its history.</strong> It came back with an older or a new board, which you see
        now. What it had not confirmed to you was sent again
        {count > 0 && `; ${count} of your confirmed changes ${count === 1 ? "is" : "are"} gone`}.
      </p>
      <button type="button" className="icon-button" aria-label="Dismiss" onClick={close}>
        <CloseIcon />
      </button>
    </div>
  );
}
