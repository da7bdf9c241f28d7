// Several people edit at once, and end up with the same board.

import assert from "node:assert/strict";
import { converged } from "./support/browser.js";
import { scenario } from "./support/stage.js";
import { soon, until } from "./support/wait.js";

scenario("two pages and a native client edit at once and converge", async ({ visit, native }) => {
  const [ana, bo] = [await visit("Ana"), await visit("Bo")];
  const cleo = native("cleo");
  await cleo.shows("To do [todo]");

  cleo.type("add From the terminal");
  cleo.type("rename restart Renamed by a terminal");
  cleo.type("move terminal Doing");
  await Promise.all([
    (async () => {
      await ana.add("todo", "From Ana");
      await ana.rename("welcome", "Ana says hello");
      await ana.drag("drag", "doing");
    })(),
    (async () => {
      await bo.rename("edit", "Bo was here");
      await bo.add("review", "From Bo");
      await bo.drag("log", "review");
    })(),
  ]);

  await until("everything to be on both pages", async () => {
    for (const page of [ana, bo]) {
      const all = await page.dump();
      for (const title of [
        "From Ana",
        "From Bo",
        "From the terminal",
        "Renamed by a terminal",
        "Ana says hello",
        "Bo was here",
      ]) {
        if (!all.includes(title)) return false;
      }
    }
    return true;
  });
  const board = JSON.parse(await converged(ana, bo));
  assert.equal(board.cards.drag.column, "doing");
  assert.equal(board.cards.log.column, "review");
  assert.equal(board.cards.terminal.column, "doing");
  for (const title of ["From Ana", "From Bo", "Ana says hello", "Bo was here"]) await cleo.shows(title);
  ana.assertNoComplaints();
  bo.assertNoComplaints();
});

scenario("two people rename the same card: one title wins everywhere", async ({ visit }) => {
  const [ana, bo] = [await visit("Ana"), await visit("Bo")];
  await Promise.all([ana.rename("welcome", "the title of Ana"), bo.rename("welcome", "the title of Bo")]);
  const board = JSON.parse(await converged(ana, bo));
  assert.match(board.cards.welcome.title, /^the title of (Ana|Bo)$/);
});

scenario("two tabs of one browser and a late joiner agree byte for byte", async ({ visit }) => {
  const first = await visit("Ana");
  const second = await visit("Ana", { context: first.context });
  await first.add("todo", "Naïve “quotes”, 日本 and 👩‍🚀");
  await second.rename("welcome", "second tab");
  await first.drag("edit", "done");
  await second.card("log").getByTestId("card-menu").click();
  await second.page.getByTestId("card-delete").locator("visible=true").click();
  const agreed = await converged(first, second);
  assert.ok(agreed.includes("👩‍🚀"));
  assert.ok(!agreed.includes('"log"'));

  const late = await visit("Late Larry");
  assert.equal(await converged(first, second, late), agreed);
});

scenario("a move by keyboard reaches the others", async ({ visit }) => {
  const [ana, bo] = [await visit("Ana"), await visit("Bo")];
  await ana.card("welcome").getByTestId("card-title").focus();
  for (const key of ["Space", "ArrowDown", "ArrowRight", "Space"]) await ana.page.keyboard.press(key);
  await soon("the card to arrive at the other page", async () =>
    (await bo.titles("doing"))[1]?.startsWith("Open this page"),
  );
  assert.equal(
    await ana.page.evaluate(() => document.activeElement?.closest("[data-card]")?.dataset.card),
    "welcome",
  );
  await converged(ana, bo);
});

scenario(
  "a card fits between two that were added at the same moment with the same order",
  async ({ visit, slowLink }) => {
    const { url } = await slowLink(250);
    const [ana, bo] = [await visit("Ana", { url }), await visit("Bo", { url })];
    await Promise.all([ana.add("done", "twin"), bo.add("done", "twin")]);
    const before = Object.entries(JSON.parse(await converged(ana, bo)).cards);
    const [[first, one], [second, two]] = before
      .filter(([, card]) => card.title === "twin")
      .sort(([a], [b]) => (a < b ? -1 : 1));
    assert.equal(one.order, two.order, "neither knew of the other");

    await ana.dragBefore("welcome", ana.card(second));
    await soon("the card to arrive at the other page", async () => (await bo.titles("done")).length === 4);
    const { cards } = JSON.parse(await converged(ana, bo));
    assert.ok(cards[first].order < cards.welcome.order && cards.welcome.order < cards[second].order);
  },
);
