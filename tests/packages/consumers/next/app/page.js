// A server component. Both entries load here too, the hooks as references to the client's.
import { createClient } from "tidewire";
import { TidewireProvider } from "tidewire/react";
import { Board } from "./board.js";

export default async function Page({ searchParams }) {
  const { server, channel } = await searchParams;
  const loads = [createClient, TidewireProvider].every((each) => typeof each === "function");
  return loads && <Board server={server} channel={channel} />;
}
