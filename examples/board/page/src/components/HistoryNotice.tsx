import { useEffect, useState } from "react";
import { useDesk } from "../state/context.ts";
import { AlertIcon, CloseIcon } from "./Icons.tsx";

/** Stays until it was read: the server came back without its history, and what is shown may be older. */
export function HistoryNotice() {
  const { channel } = useDesk();
  const [isLost, setLost] = useState(false);
  useEffect(() => channel.on("history_lost", () => setLost(true)), [channel]);
  if (!isLost) return null;
  return (
    <div className="history-notice" role="alert" data-testid="history-lost">
      <AlertIcon />
      <p>
        <strong>The server lost its history.</strong> It came back with an older or a new board, which you see
        now. Changes of yours that it had not confirmed were sent again.
      </p>
      <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => setLost(false)}>
        <CloseIcon />
      </button>
    </div>
  );
}
