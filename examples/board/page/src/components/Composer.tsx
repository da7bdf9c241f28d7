import { useDesk } from "../state/context.ts";
import { adderOf, focusSoon } from "../state/focus.ts";
import { useStore } from "../state/store.ts";
import { PlusIcon } from "./Icons.tsx";
import { TitleEditor } from "./TitleEditor.tsx";

/** Adds a card at the end of a column. */
export function Composer({ column, title }: { column: string; title: string }) {
  const desk = useDesk();
  const open = useStore(desk.editing, (value) =>
    value && "column" in value && value.column === column ? value : undefined,
  );
  if (!open) {
    return (
      <button
        type="button"
        className="composer"
        data-testid="add-card"
        aria-label={`Add a card to ${title}`}
        onClick={() => desk.editing.set({ column })}
      >
        <PlusIcon /> Add a card
      </button>
    );
  }
  return (
    <div className="composer composer--open">
      <TitleEditor
        label={`Title of the new card in ${title}`}
        initial={open.draft ?? ""}
        onSave={(text) => text && desk.add(column, text)}
        onClose={(byKey) => {
          desk.editing.set(null);
          if (byKey) focusSoon(adderOf(column));
        }}
      />
    </div>
  );
}
