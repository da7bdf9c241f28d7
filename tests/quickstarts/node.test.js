import { follow } from "./follow.js";

follow("quickstart-node.md", async (reader) => {
  const server = reader.terminal("tidewire-server --dev-auth");
  const watcher = reader.terminal("node watch.mjs");
  await server.stop();
  await watcher.shows(["connected", "waiting"]);
  server.start();
  await watcher.shows(["connected", "waiting", "connected"]);
});
