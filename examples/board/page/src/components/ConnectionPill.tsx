import type { Connection } from "tidewire";
import { useConnection } from "tidewire/react";
import { useDesk } from "../state/context.ts";
import { fall } from "../state/fall.ts";
import { pendingCount } from "../state/marks.ts";
import { useStore } from "../state/store.ts";

const LABEL: Record<Connection["state"], string> = {
  idle: "Not connected",
  connecting: "Connecting",
  connected: "Live",
  waiting: "Reconnecting",
  draining: "Server restarting",
  closed: "Disconnected",
};

const TRANSPORT: Record<string, string> = { websocket: "WebSocket", sse: "SSE", "long-poll": "Long poll" };

/** How the page is connected, and what waits for it. */
export function ConnectionPill() {
  const { state, transport, since, reason } = useConnection();
  const pending = useStore(useDesk().marks.store, pendingCount);
  const why = useStore(fall, (text) => text);
  const label = LABEL[state];
  const carrier = transport && (TRANSPORT[transport] ?? transport);
  const kept = `${pending} ${pending === 1 ? "change" : "changes"} kept`;
  const offline = state !== "connected";

  return (
    <div className="connection" data-state={state} data-transport={transport} data-testid="connection">
      <button type="button" className="connection__pill" popoverTarget="connection-details">
        <span className="connection__dot" />
        <span role="status">
          <span className="connection__label">{label}</span>
          {state === "connected" && carrier && <span className="connection__extra"> · {carrier}</span>}
          {why && (
            <span className="connection__extra">
              {" · "}
              <span className="connection__why" data-testid="connection-why" title={why}>
                {why}
              </span>
            </span>
          )}
          {offline && pending > 0 && <span className="connection__extra"> · {kept}</span>}
        </span>
      </button>
      <div id="connection-details" className="connection__details" popover="auto">
        <dl>
          <dt>State</dt>
          <dd>{label}</dd>
          <dt>Since</dt>
          <dd>{new Date(since).toLocaleTimeString()}</dd>
          {carrier && (
            <>
              <dt>Transport</dt>
              <dd>{carrier}</dd>
            </>
          )}
          {why && (
            <>
              <dt>Why</dt>
              <dd>{why}</dd>
            </>
          )}
          {reason && (
            <>
              <dt>Reason</dt>
              <dd data-testid="connection-reason">
                {reason.message} <code>{reason.code}</code>
              </dd>
            </>
          )}
          <dt>Unconfirmed</dt>
          <dd>{pending === 0 ? "nothing" : kept}</dd>
        </dl>
        {offline && <p>Go on working: your changes are kept here and sent as soon as the server is back.</p>}
      </div>
    </div>
  );
}
