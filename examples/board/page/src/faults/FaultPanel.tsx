import { type ReactNode, useEffect } from "react";
import { CloseIcon } from "../components/Icons.tsx";
import { useStore } from "../state/store.ts";
import { type Bench, FREEZE_MS, NAMES } from "./bench.ts";
import { type Knob, REPLAY_URL } from "./panel.ts";
import { Proofs } from "./Proofs.tsx";
import { TimelineView } from "./TimelineView.tsx";

const KNOBS: readonly (readonly [Knob, string])[] = [
  ["delay", "by 0.8 s"],
  ["duplicate", "patches"],
  ["reorder", "patches"],
  ["drop_patches", "one in two"],
  ["drop_acks", "all of them"],
  ["block_websocket", "for everyone"],
  ["block_sse", "for everyone"],
  ["collect_sse", "for everyone"],
];

/** Makes things go wrong, and shows what the frames say about it. */
export default function FaultPanel({ bench }: { bench: Bench }) {
  const on = useStore(bench.on, (value) => value);
  const everyone = useStore(bench.everyone, (value) => value);
  const told = useStore(bench.told, (value) => value);
  const frozen = useStore(bench.frozen, (value) => value);

  useEffect(() => bench.start(), [bench]);

  return (
    <aside className="faults" aria-label="Fault panel" data-testid="fault-panel" id="fault-panel">
      <div className="faults__head">
        <h2>Break it</h2>
        <fieldset className="faults__whom">
          <legend className="visually-hidden">Whose links</legend>
          <label>
            <input type="radio" name="whom" checked={!everyone} onChange={() => bench.everyone.set(false)} />
            <span>Me</span>
          </label>
          <label>
            <input type="radio" name="whom" checked={everyone} onChange={() => bench.everyone.set(true)} />
            <span>Everyone</span>
          </label>
        </fieldset>
        <button type="button" className="icon-button" aria-label="Close the fault panel" onClick={() => bench.toggle()}>
          <CloseIcon />
        </button>
      </div>

      <div className="faults__buttons">
        <Press name="cut" label="Cut" hint="the link breaks" press={() => void bench.act("cut")} />
        <Press name="half_open" label="Half-open" hint="it goes silent" press={() => void bench.act("half_open")} />
        {KNOBS.map(([knob, hint]) => (
          <button
            key={knob}
            type="button"
            className="fault"
            data-testid={`fault-${knob}`}
            aria-pressed={on.has(knob)}
            onClick={() => void bench.turn(knob, !on.has(knob))}
          >
            <span className="fault__switch" />
            <strong>{NAMES[knob]}</strong>
            <span>{hint}</span>
          </button>
        ))}
        <Press name="reject" label="Reject" hint="the next change" press={() => void bench.act("reject")} />
        <Press name="new_epoch" label="New epoch" hint="of the log" press={() => void bench.newEpoch()} />
        <Press name="go_away" label="Go away" hint="as for a deploy" press={() => void bench.act("go_away")} />
        <Press name="restart" label="Restart" hint="the server" press={() => void bench.restart()} />
        <Press name="freeze" label="Freeze" hint={`this tab, ${FREEZE_MS / 1000} s`} press={() => bench.freeze()} />
      </div>

      <p className="faults__told" role="status" data-testid="fault-told" data-frozen={frozen || undefined}>
        {frozen ? `This tab is frozen for ${FREEZE_MS / 1000} s …` : told || "Edit cards while things go wrong."}
      </p>

      <Proofs timeline={bench.timeline} />
      <TimelineView timeline={bench.timeline} />

      <div className="faults__foot">
        <a href={REPLAY_URL} download="tidewire-replay.json" className="faults__link" data-testid="fault-replay">
          Replay file
        </a>
        <button type="button" className="faults__link" data-testid="fault-calm" onClick={() => void bench.calm()}>
          All off
        </button>
      </div>
    </aside>
  );
}

function Press({ name, label, hint, press }: { name: string; label: ReactNode; hint: string; press: () => void }) {
  return (
    <button type="button" className="fault" data-testid={`fault-${name}`} onClick={press}>
      <strong>{label}</strong>
      <span>{hint}</span>
    </button>
  );
}
