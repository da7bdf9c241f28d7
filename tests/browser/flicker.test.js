// One's own edit shows at once and stays: never the old text after the new one.

import assert from "node:assert/strict";
import { converged } from "./support/browser.js";
import { scenario } from "./support/stage.js";

const DELAY_MS = 120;

/** Notes every text that a card shows: at each change of the document and at each frame. */
const watchCard = (id) => {
  const seen = [];
  const note = () => {
    const title = document.querySelector(`[data-card="${id}"] [data-testid="card-title"]`);
    // While its editor is open, a card has no title to show.
    if (title && seen.at(-1) !== title.textContent) seen.push(title.textContent);
  };
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
  const everyFrame = () => {
    note();
    requestAnimationFrame(everyFrame);
  };
  everyFrame();
  window.seenTitles = seen;
};

/** Notes every column that a card is shown in. */
const watchColumn = (id) => {
  const seen = [];
  const note = () => {
    const column =
      document.querySelector(`[data-card="${id}"]`)?.closest("[data-column]")?.dataset.column ?? "nowhere";
    if (seen.at(-1) !== column) seen.push(column);
  };
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true });
  const everyFrame = () => {
    note();
    requestAnimationFrame(everyFrame);
  };
  everyFrame();
  window.seenColumns = seen;
};

scenario(
  "one's own edits never flicker, however slow the network and whatever others do",
  async ({ visit, slowLink }) => {
    const { url } = await slowLink(DELAY_MS);
    const [ana, bo] = [await visit("Ana", { url }), await visit("Bo", { url })];
    const [start] = await ana.titles("todo");
    await ana.page.evaluate(watchCard, "welcome");

    const typed = [];
    for (let count = 1; count <= 6; count += 1) {
      typed.push(`edit ${count}`);
      await ana.rename("welcome", `edit ${count}`);
      // Foreign entries arrive in between and make the view be computed anew.
      await bo.rename("edit", `noise ${count}`);
    }
    await ana.settled();
    await converged(ana, bo);
    assert.deepEqual(await ana.page.evaluate(() => window.seenTitles), [start, ...typed]);
    ana.assertNoComplaints();
  },
);

scenario("one's own move never jumps back while it is on its way", async ({ visit, slowLink }) => {
  const { url } = await slowLink(DELAY_MS);
  const [ana, bo] = [await visit("Ana", { url }), await visit("Bo", { url })];
  await ana.page.evaluate(watchColumn, "welcome");
  for (const [at, column] of ["doing", "review", "done"].entries()) {
    await ana.drag("welcome", column);
    await bo.rename("edit", `noise ${at}`);
  }
  await ana.settled();
  await converged(ana, bo);
  assert.deepEqual(await ana.page.evaluate(() => window.seenColumns), ["todo", "doing", "review", "done"]);
});
