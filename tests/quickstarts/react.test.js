import { follow } from "./follow.js";

follow("quickstart-react.md", async (reader) => {
  const [here, there] = [await reader.window(), await reader.window()];
  await here.getByText("connected", { exact: true }).waitFor();
  await there.getByText("connected", { exact: true }).waitFor();

  await here.getByLabel("New item").fill("Milk");
  await here.getByRole("button", { name: "Add" }).click();
  await there.getByLabel("Milk").check();
  await here.locator("li", { hasText: "Milk" }).locator(":checked").waitFor();

  const server = reader.terminal("tidewire-server --dev-auth --broker disk");
  await server.stop();
  await here.getByText("waiting", { exact: true }).waitFor();
  await here.getByLabel("New item").fill("Bread");
  await here.getByLabel("New item").press("Enter");
  await here.getByLabel("Bread").waitFor();
  server.start();
  await there.getByLabel("Bread").waitFor();
  await there.locator("li", { hasText: "Milk" }).locator(":checked").waitFor();
  // A browser says in its console that a server cannot be reached.
  reader.shrugs(/WebSocket connection to .* failed|net::ERR_(CONNECTION_REFUSED|SOCKET_NOT_CONNECTED)/);
});
