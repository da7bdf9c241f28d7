import type { Ref } from "react";
import { colorOf } from "../identity.ts";
import { useDesk } from "../state/context.ts";
import { useStore } from "../state/store.ts";
import { Avatar } from "./Avatar.tsx";

/** The card under the pointer while it is carried. Its place is set from outside, many times a second. */
export function Floating({ ref }: { ref: Ref<HTMLDivElement> }) {
  const desk = useDesk();
  const carried = useStore(desk.carried, (value) => value);
  const card = carried && desk.channel.get("cards", carried.card);
  const isShown = carried?.by === "pointer" && card;
  return (
    <div ref={ref} className="floating" aria-hidden="true" hidden={!isShown}>
      {isShown && (
        <div className="card card--floating" style={{ width: carried.width, minHeight: carried.height }}>
          <div className="card__body">
            <span className="card__title">{card.title}</span>
            <span className="icon-button card__more" />
          </div>
          <div className="card__foot">
            <Avatar name={card.by} color={colorOf(card.by)} small />
            <span className="card__by">{card.by}</span>
          </div>
        </div>
      )}
    </div>
  );
}
