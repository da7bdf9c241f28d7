import type { Bench } from "../faults/bench.ts";
import { useStore } from "../state/store.ts";
import { ConnectionPill } from "./ConnectionPill.tsx";
import { BoltIcon, WaveIcon } from "./Icons.tsx";
import { NameField } from "./NameField.tsx";
import { People } from "./People.tsx";

export function Header({ board, bench }: { board: string; bench: Bench }) {
  const isBreaking = useStore(bench.open, (open) => open);
  const [kind, name] = [board.slice(0, board.indexOf(":") + 1), board.slice(board.indexOf(":") + 1)];
  return (
    <header className="header">
      <div className="header__brand">
        <WaveIcon />
        <h1>tidewire</h1>
        <span className="header__board" title="The channel of this board">
          <span className="header__kind">{kind}</span>
          {name}
        </span>
      </div>
      <button
        type="button"
        className="header__break"
        data-testid="fault-toggle"
        aria-expanded={isBreaking}
        aria-controls="fault-panel"
        title="Make things go wrong"
        onClick={() => bench.toggle()}
      >
        <BoltIcon />
        <span>Break it</span>
      </button>
      <ConnectionPill />
      <People />
      <NameField />
    </header>
  );
}
