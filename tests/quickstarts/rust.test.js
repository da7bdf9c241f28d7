import { follow } from "./follow.js";

// One after the other: both build in one target directory.
follow("quickstart-rust.md", async (reader) => {
  const server = reader.terminal("tidewire-server --dev-auth");
  await server.stop();
  server.start();
  await reader.types("cargo run Bread");
  await reader.terminal("cargo run").shows(['bread: Some(Item { text: "Bread", done: false })']);
});

follow("quickstart-server.md");

follow("testing-your-app.md", undefined, {
  before: ["cargo init --lib --name app", "npm install tidewire react react-dom"],
});
