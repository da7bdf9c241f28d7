import { useEffect, useRef, useState } from "react";
import { TITLE_MAX, titleLength } from "../model.ts";

export interface TitleEditorProps {
  label: string;
  initial: string;
  /** The title as everyone sees it: somebody else may change it meanwhile. */
  current?: string;
  onSave(text: string): void;
  /** After saving or cancelling. */
  onClose(byKey: boolean): void;
}

const COUNT_FROM = 60;

/**
 * Enter and leaving save, Escape cancels. A title that is too long can be sent all the same:
 * the limit is the server's, and this page shows what a refusal looks like.
 */
export function TitleEditor({ label, initial, current, onSave, onClose }: TitleEditorProps) {
  const [text, setText] = useState(initial);
  const area = useRef<HTMLTextAreaElement>(null);
  const done = useRef(false);
  const before = useRef(current);

  useEffect(() => {
    area.current?.focus();
    area.current?.select();
    done.current = false;
  }, []);
  // Where `field-sizing` is not known yet, the height follows by hand.
  useEffect(() => {
    if (!area.current || CSS.supports("field-sizing", "content")) return;
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);

  // Closing takes the focus away, which would save once more.
  const finish = (how: { save: boolean; byKey: boolean }): void => {
    if (done.current) return;
    done.current = true;
    if (how.save) onSave(text.replace(/\s+/g, " ").trim());
    onClose(how.byKey);
  };
  const length = titleLength(text);

  return (
    <div className="editor" data-no-drag>
      <textarea
        ref={area}
        className="editor__text"
        data-testid="title-editor"
        aria-label={label}
        rows={1}
        value={text}
        enterKeyHint="done"
        onChange={(event) => setText(event.target.value)}
        onBlur={() => finish({ save: true, byKey: false })}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return;
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            finish({ save: true, byKey: true });
          }
          if (event.key === "Escape") finish({ save: false, byKey: true });
        }}
      />
      {current !== before.current && (
        <p className="editor__meanwhile" role="status">
          Changed meanwhile to “{current}”
        </p>
      )}
      {length >= COUNT_FROM && (
        <output className="editor__count" data-over={length > TITLE_MAX || undefined}>
          {length} of {TITLE_MAX}
        </output>
      )}
    </div>
  );
}
