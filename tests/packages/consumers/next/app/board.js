"use client";

import { useEffect, useState } from "react";
import { createClient, TidewireError } from "tidewire";
import { TidewireProvider, useChannel, useClient, useCollection } from "tidewire/react";

/** Rendered on the server first, where nothing is opened. */
export function Board({ server, channel }) {
  const [client] = useState(() => createClient({ url: server, token: "dev:consumer" }));
  const shared = useIsShared();
  return (
    <TidewireProvider client={client}>
      <Cards channel={channel} shared={shared} />
    </TidewireProvider>
  );
}

function Cards({ channel, shared }) {
  const board = useChannel(channel);
  const cards = useCollection(board, "cards", { sortBy: "title" });
  const [report, setReport] = useState();
  const seen = cards.find((card) => card.id === "seed")?.title;
  useEffect(() => {
    if (!seen) return;
    const made = board.put("cards", "made", { title: "made by the consumer" });
    made.committed.then(() => setReport({ seen, status: made.status, shared }));
  }, [board, seen, shared]);
  return (
    <>
      <ul>{cards.map((card) => <li key={card.id}>{card.title}</li>)}</ul>
      <output id="report">{report && JSON.stringify(report)}</output>
    </>
  );
}

/** Whether what a hook throws, here above the provider, is what the application imports. */
function useIsShared() {
  try {
    useClient();
  } catch (error) {
    return error instanceof TidewireError;
  }
  return false;
}
