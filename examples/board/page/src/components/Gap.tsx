import { useEffect, useRef } from "react";
import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";

/** Where the carried card would go. For the keyboard, which has no floating card, it also shows which one. */
export function Gap() {
  const desk = useDesk();
  const carried = useStore(desk.carried, (value) => value);
  const gap = useRef<HTMLLIElement>(null);
  const byKey = carried?.by === "keyboard";
  const index = carried?.over.index;
  useEffect(() => {
    if (byKey) gap.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [byKey, index]);
  if (!carried) return null;
  return (
    <li ref={gap} className="gap" style={{ height: carried.height }} aria-hidden="true">
      {byKey && desk.channel.get("cards", carried.card)?.title}
    </li>
  );
}
