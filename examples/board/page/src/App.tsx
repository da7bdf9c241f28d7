import { lazy, Suspense, useEffect, useMemo } from "react";
import { useChannel } from "tidewire/react";
import { Board } from "./components/Board.tsx";
import { Fatal } from "./components/Fatal.tsx";
import { Header } from "./components/Header.tsx";
import { HistoryNotice } from "./components/HistoryNotice.tsx";
import { Skeleton } from "./components/Skeleton.tsx";
import { Spoken } from "./components/Spoken.tsx";
import { Toasts } from "./components/Toasts.tsx";
import { exposeForDebugging } from "./debug.ts";
import type { Bench } from "./faults/bench.ts";
import type { Identity } from "./identity.ts";
import type { BoardData, Here } from "./model.ts";
import { DeskContext } from "./state/context.ts";
import { Desk } from "./state/desk.ts";
import { useReady } from "./state/ready.ts";
import { useStore } from "./state/store.ts";

/** Whoever only wants the board does not load it. */
const FaultPanel = lazy(() => import("./faults/FaultPanel.tsx"));

export function App({ identity, bench }: { identity: Identity; bench: Bench }) {
  const channel = useChannel<BoardData, Here>(identity.channel);
  const desk = useMemo(() => new Desk(channel, identity.name), [channel, identity.name]);
  const ready = useReady(channel);
  const isBreaking = useStore(bench.open, (open) => open);

  useEffect(() => (identity.debug ? exposeForDebugging(channel) : undefined), [channel, identity.debug]);

  return (
    <DeskContext value={desk}>
      <Header board={identity.channel} bench={bench} />
      <div className="stage">
        <main className="main">
          <HistoryNotice />
          {ready.state === "ready" && <Board />}
          {ready.state === "loading" && <Skeleton />}
          {ready.state === "failed" && <Fatal error={ready.error} />}
        </main>
        {isBreaking && (
          <Suspense fallback={null}>
            <FaultPanel bench={bench} />
          </Suspense>
        )}
      </div>
      <Toasts />
      <Spoken />
    </DeskContext>
  );
}
