import { follow } from "./follow.js";

follow("quickstart-zustand.md", async (reader) => {
  const [here, there] = [await reader.window(), await reader.window()];
  await here.getByLabel("New idea").fill("Soup");
  await here.getByRole("button", { name: "Suggest" }).click();
  await there.getByText("Soup: 0").waitFor();
  for (const window of [here, there]) await window.getByRole("button", { name: "Vote" }).click();
  for (const window of [here, there]) await window.getByText("Soup: 2").waitFor();
  await here.getByLabel("Filter").fill("Pizza");
  await here.getByText("Soup: 2").waitFor({ state: "detached" });
  await there.getByText("Soup: 2").waitFor();
});
