import type { ReactNode } from "react";
import { useStore } from "../state/store.ts";
import type { Timeline } from "./timeline.ts";

/** What the frames prove so far. */
export function Proofs({ timeline }: { timeline: Timeline }) {
  const sums = useStore(timeline.sums, (value) => value);
  const { applied, missing, patches, gaps, duplicates, changes, sends, once, twice, rejected } = sums;
  const open = changes - once - twice;
  return (
    <dl
      className="proofs"
      data-testid="proofs"
      data-applied={applied}
      data-patches={patches}
      data-gaps={gaps}
      data-duplicates={duplicates}
      data-changes={changes}
      data-sends={sends}
      data-once={once}
      data-twice={twice}
      data-rejected={rejected}
    >
      <Proof name="Order" holds={missing === undefined} value={applied === undefined ? "–" : `seq ${applied}`}>
        {missing === undefined ? `${patches} in turn` : `waits for seq ${missing}`}
        {gaps > 0 && `, ${gaps} ${gaps === 1 ? "hole" : "holes"}`}
        {duplicates > 0 && `, ${duplicates} ignored`}
      </Proof>
      <Proof name="Exactly once" holds={twice === 0} value={`${once} of ${changes}`}>
        {twice > 0
          ? `${twice} were logged twice`
          : sends > changes
            ? `though sent ${sends} times`
            : "of your changes"}
        {open > 0 && `, ${open} under way`}
      </Proof>
      <Proof name="Rolled back" holds value={rejected}>
        refused, and put back
      </Proof>
    </dl>
  );
}

function Proof({
  name,
  value,
  holds,
  children,
}: {
  name: string;
  value: ReactNode;
  holds: boolean;
  children: ReactNode;
}) {
  return (
    <div className="proof" data-holds={holds}>
      <dt>{name}</dt>
      <dd>
        <strong>{value}</strong>
        <span>{children}</span>
      </dd>
    </div>
  );
}
