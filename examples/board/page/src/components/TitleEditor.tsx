import { useEffect, useRef, useState } from "react";
import { TITLE_MAX, titleLength } from "../model.ts";

export interface TitleEditorProps {
  label: string;
  initial: string;
  onSave(text: string): void;
  onCancel(): void;
}

const COUNT_FROM = 60;

/**
 * Enter and leaving save, Escape cancels. A title that is too long can be sent all the same:
 * the limit is the server's, and this page shows what a refusal looks like.
 */
export function TitleEditor({ label, initial, onSave, onCancel }: TitleEditorProps) {
  const [text, setText] = useState(initial);
  const area = useRef<HTMLTextAreaElement>(null);
  const done = useRef(false);

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

  const finish = (end: () => void): void => {
    if (done.current) return;
    done.current = true;
    end();
  };
  const save = (): void => finish(() => onSave(text.replace(/\s+/g, " ").trim()));
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
        onBlur={save}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return;
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            save();
          }
          if (event.key === "Escape") finish(onCancel);
        }}
      />
      {length >= COUNT_FROM && (
        <output className="editor__count" data-over={length > TITLE_MAX || undefined}>
          {length} of {TITLE_MAX}
        </output>
      )}
    </div>
  );
}
