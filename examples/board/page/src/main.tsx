import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "tidewire";
import { FrameTap } from "tidewire/debug";
import { TidewireProvider } from "tidewire/react";
import { App } from "./App.tsx";
import { Bench } from "./faults/bench.ts";
import { identify } from "./identity.ts";
import { watchFall } from "./state/fall.ts";
import "./styles/index.css";

const identity = identify(new URL(location.href), sessionStorage);
// Nothing happens on the network before the first component asks for the channel.
const tap = new FrameTap();
const client = createClient({
  url: location.origin,
  token: async () => identity.token,
  transports: identity.transports,
  WebSocket: tap.WebSocket,
  fetch: tap.fetch,
});
watchFall(client);
const bench = new Bench(tap, identity.channel, () => client.principal);

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <TidewireProvider client={client}>
      <App identity={identity} bench={bench} />
    </TidewireProvider>
  </StrictMode>,
);
