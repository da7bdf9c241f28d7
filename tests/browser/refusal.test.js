// What the server refuses shows at once, comes back, and says why.

import assert from "node:assert/strict";
import { converged } from "./support/browser.js";
import { scenario } from "./support/stage.js";
import { soon } from "./support/wait.js";

const LOCKED = "the column “Shipped” is locked";

scenario("a card dropped on the locked column comes back with the reason", async ({ visit, slowLink }) => {
  const { url } = await slowLink(150);
  const [ana, bo] = [await visit("Ana", { url }), await visit("Bo")];
  const before = await ana.dump();

  await ana.drag("welcome", "shipped");
  assert.equal(JSON.parse(await ana.dump()).cards.welcome.column, "shipped", "the move shows at once");
  await ana.card("welcome").getByTestId("card-refusal").getByText(LOCKED).waitFor();
  await ana.page.getByTestId("toast").getByText(LOCKED).waitFor();
  assert.ok(
    (await ana.titles("todo")).some((title) => title.startsWith("Open this page")),
    "the card is back",
  );
  assert.equal(await converged(ana, bo), before);
  await ana.picture("laptop-refused");
  ana.assertNoComplaints();
});

scenario(
  "cards of the locked column can be neither edited, moved nor deleted, nor can one be added",
  async ({ visit }) => {
    const ana = await visit("Ana");
    const before = await ana.dump();
    const refused = async () => {
      await ana.page.getByTestId("toast").getByText(LOCKED).waitFor();
      await ana.page.getByTestId("toast").getByRole("button", { name: "Dismiss" }).click();
      await ana.page.getByTestId("toast").waitFor({ state: "detached" });
    };
    await ana.rename("locked", "changed all the same");
    await refused();
    await ana.drag("locked", "todo");
    await refused();
    await ana.add("shipped", "one more");
    await refused();
    await ana.card("locked").getByTestId("card-menu").click();
    await ana.page.getByTestId("card-delete").locator("visible=true").click();
    await refused();
    assert.equal(await ana.dump(), before);
  },
);

scenario("a title that is too long is put back, and its text is offered again", async ({ visit }) => {
  const ana = await visit("Ana");
  const long = "far too long ".repeat(8).trim();
  await ana.rename("welcome", long);
  await ana.page.getByTestId("toast").getByText("at most 80 characters; this one has 103").waitFor();
  assert.ok((await ana.titles("todo"))[0].startsWith("Open this page"));

  await ana.page.getByRole("button", { name: "Edit again" }).click();
  assert.equal(await ana.page.getByTestId("title-editor").inputValue(), long);
  await ana.page.getByTestId("title-editor").fill("short enough");
  await ana.page.keyboard.press("Enter");
  await ana.settled();
  await soon("the mark to go", async () => (await ana.page.getByTestId("card-refusal").count()) === 0);
  assert.equal((await ana.titles("todo"))[0], "short enough");
});
