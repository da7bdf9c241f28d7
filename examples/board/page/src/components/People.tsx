import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";
import { Avatar } from "./Avatar.tsx";

const FACES_MAX = 4;

/** Who else is here. */
export function People() {
  const people = useStore(useDesk().people.store, (value) => value);
  const names = people.map((person) => person.name).join(", ");
  const label = people.length === 0 ? "Nobody else is here" : `Also here: ${names}`;
  const hidden = people.length - FACES_MAX;
  return (
    <div
      className="people"
      role="img"
      aria-label={label}
      title={label}
      data-testid="people"
      data-count={people.length}
    >
      {people.slice(0, hidden === 1 ? FACES_MAX + 1 : FACES_MAX).map((person) => (
        <Avatar key={person.peer} name={person.name} color={person.color} />
      ))}
      {hidden > 1 && <span className="avatar avatar--more">+{hidden}</span>}
    </div>
  );
}
