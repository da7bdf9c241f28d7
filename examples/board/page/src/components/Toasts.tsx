import { useEffect } from "react";
import { useDesk } from "../state/context.ts";
import type { Notice } from "../state/notices.ts";
import { useStore } from "../state/store.ts";
import { AlertIcon, CloseIcon } from "./Icons.tsx";

const STAYS_MS = 9000;

export function Toasts() {
  const notices = useStore(useDesk().notices.store, (value) => value);
  return (
    <div className="toasts" role="log" aria-live="polite" aria-label="Messages">
      {notices.map((notice) => (
        <Toast key={notice.id} notice={notice} />
      ))}
    </div>
  );
}

function Toast({ notice }: { notice: Notice }) {
  const { notices } = useDesk();
  const { id, tone, title, detail, action } = notice;
  useEffect(() => {
    const timer = setTimeout(() => notices.dismiss(id), STAYS_MS);
    return () => clearTimeout(timer);
  }, [notices, id]);
  return (
    <div className="toast" data-tone={tone} data-testid="toast">
      <AlertIcon />
      <div className="toast__text">
        <strong>{title}</strong>
        {detail && <span>{detail}</span>}
      </div>
      {action && (
        <button
          type="button"
          className="toast__action"
          onClick={() => {
            notices.dismiss(id);
            action.run();
          }}
        >
          {action.label}
        </button>
      )}
      <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => notices.dismiss(id)}>
        <CloseIcon />
      </button>
    </div>
  );
}
