import { memo } from "react";
import { useConnection } from "tidewire/react";
import { useStore } from "../state/store.ts";
import type { Row, Timeline } from "./timeline.ts";

const ARROW = { up: "↑", down: "↓" } as const;
const SPOKEN = { up: "sent", down: "received" } as const;
const MARK = { frame: "", link: "⌁", fault: "⚡" } as const;

/** Frames and faults, newest first. */
export function TimelineView({ timeline }: { timeline: Timeline }) {
  const rows = useStore(timeline.rows, (value) => value);
  const problem = useStore(timeline.problem, (value) => value);
  const all = useStore(timeline.all, (value) => value);
  const paused = useStore(timeline.paused, (value) => value);
  const { transport } = useConnection();
  return (
    <section className="timeline" aria-labelledby="timeline-title">
      <div className="timeline__head">
        <h3 id="timeline-title">Frames of this tab</h3>
        <label>
          <input type="checkbox" checked={all} onChange={(event) => timeline.all.set(event.target.checked)} /> presence
        </label>
        <label>
          <input type="checkbox" checked={paused} onChange={(event) => timeline.paused.set(event.target.checked)} /> pause
        </label>
      </div>
      {transport && transport !== "websocket" && (
        <p className="timeline__empty">Frames over SSE and polls are not shown here: this follows WebSockets.</p>
      )}
      {problem && <p className="timeline__problem">{problem}</p>}
      {rows.length === 0 && !problem && <p className="timeline__empty">Change a card: its frames show up here.</p>}
      <ol className="timeline__rows" tabIndex={0} aria-labelledby="timeline-title" data-testid="timeline">
        {rows.map((row) => (
          <Line key={row.id} row={row} />
        ))}
      </ol>
    </section>
  );
}

const Line = memo(function Line({ row }: { row: Row }) {
  const { what, direction, kind, channel, seq, note, tone, latency, at } = row;
  return (
    <li className="frame" data-what={what} data-kind={kind} data-direction={direction} data-seq={seq} data-tone={tone}>
      <time>{clock(at)}</time>
      <span className="frame__way">
        {direction && what === "frame" ? (
          <>
            <span aria-hidden="true">{ARROW[direction]}</span>
            <span className="visually-hidden">{SPOKEN[direction]}</span>
          </>
        ) : (
          <span aria-hidden="true">{MARK[what]}</span>
        )}
      </span>
      <span className="frame__kind" title={channel}>
        {kind.replaceAll("_", " ")}
      </span>
      <span className="frame__seq">{seq !== undefined && `seq ${seq}`}</span>
      <span className="frame__latency">{latency !== undefined && `${Math.round(latency)} ms`}</span>
      {note && <span className="frame__note">{note}</span>}
    </li>
  );
});

/** Minutes, seconds and milliseconds: more does not fit, and nobody watches for an hour. */
function clock(at: number): string {
  const date = new Date(at);
  const pad = (value: number, digits: number): string => String(value).padStart(digits, "0");
  return `${pad(date.getMinutes(), 2)}:${pad(date.getSeconds(), 2)}.${pad(date.getMilliseconds(), 3)}`;
}
