import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "tidewire";
import { TidewireProvider } from "tidewire/react";
import { App } from "./App.tsx";
import { identify } from "./identity.ts";
import "./styles/index.css";

const identity = identify(new URL(location.href), sessionStorage);
// Nothing happens on the network before the first component asks for the channel.
const client = createClient({ url: location.origin, token: async () => identity.token });

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <TidewireProvider client={client}>
      <App identity={identity} />
    </TidewireProvider>
  </StrictMode>,
);
