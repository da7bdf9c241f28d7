import { ConnectionPill } from "./ConnectionPill.tsx";
import { WaveIcon } from "./Icons.tsx";
import { NameField } from "./NameField.tsx";
import { People } from "./People.tsx";

export function Header({ board }: { board: string }) {
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
      <ConnectionPill />
      <People />
      <NameField />
    </header>
  );
}
