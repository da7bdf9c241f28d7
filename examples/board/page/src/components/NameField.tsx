import { type CSSProperties, useState } from "react";
import { colorOf, initials, remember, tidyName } from "../identity.ts";
import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";

/** One's own name, to be changed in place. */
export function NameField() {
  const desk = useDesk();
  const name = useStore(desk.name, (value) => value);
  const [draft, setDraft] = useState<string>();

  const save = (): void => {
    if (draft === undefined) return;
    const tidy = draft.trim() ? tidyName(draft) : name;
    desk.name.set(tidy);
    remember(tidy, sessionStorage);
    setDraft(undefined);
  };

  return (
    <label className="name-field" style={{ "--person": colorOf(name) } as CSSProperties}>
      <span className="avatar" aria-hidden="true">
        {initials(name)}
      </span>
      <span className="visually-hidden">Your name</span>
      <input
        data-testid="name"
        value={draft ?? name}
        maxLength={24}
        size={Math.max(4, (draft ?? name).length)}
        spellCheck={false}
        autoComplete="off"
        onChange={(event) => setDraft(event.target.value)}
        onBlur={save}
        onKeyDown={(event) => {
          if (event.key === "Enter") event.currentTarget.blur();
          if (event.key === "Escape") setDraft(undefined);
        }}
      />
    </label>
  );
}
