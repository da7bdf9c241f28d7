import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";

/** What only a screen reader needs: help for cards, and what a card carried by keyboard is doing. */
export function Spoken() {
  const text = useStore(useDesk().spoken, (value) => value);
  return (
    <div className="visually-hidden">
      <p id="card-help">Enter edits. Space picks the card up; then arrow keys move it.</p>
      <p role="status">{text}</p>
    </div>
  );
}
