// React shows the cards, Zustand makes one. No JSX, so that every bundler takes it as it is.

import { createElement as h, StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { createClient, TidewireError } from "tidewire";
import { TidewireProvider, useChannel, useClient, useCollection, usePending } from "tidewire/react";
import { tidewire } from "tidewire/zustand";
import { create } from "zustand";

const { server, channel: name } = Object.fromEntries(new URLSearchParams(location.search));
const client = createClient({ url: server, token: "dev:consumer" });
const useBoard = create(tidewire(client.channel(name), { cards: "cards" }, () => ({})));
const made = { title: "made by the consumer" };

function Cards() {
  const board = useChannel(name);
  const shown = useCollection(board, "cards");
  const stored = useBoard((state) => state.cards);
  const pending = usePending(board, "cards", "made");
  const has = (id) => stored[id] && shown.some((card) => card.title === stored[id].title);
  const joined = has("seed");
  useEffect(() => {
    if (joined) useBoard.setState(({ cards }) => ({ cards: { ...cards, made } }));
  }, [joined]);
  useEffect(() => {
    if (has("made") && !pending) reportDone(stored.seed.title);
  });
  return h("ul", null, ...shown.map((card) => h("li", { key: card.id }, card.title)));
}

let shared;

/** Not below the provider. */
function Astray() {
  shared = isShared(useClient) && isShared(() => useBoard.setState(7));
  return null;
}

/** Whether what an adapter throws is what the application imports. */
function isShared(misuse) {
  try {
    misuse();
  } catch (error) {
    return error instanceof TidewireError;
  }
  return false;
}

async function reportDone(seen) {
  await client.channel(name).set("cards", "made", made).committed;
  report({ seen, status: "committed", shared });
}

function report(what) {
  document.getElementById("report").textContent = JSON.stringify(what);
}

client.on("connection", ({ state, reason }) => {
  if (state === "closed") report({ error: reason.code });
});

createRoot(document.getElementById("app")).render(
  h(StrictMode, null, h(Astray), h(TidewireProvider, { client }, h(Cards))),
);
