// The server dies and comes back, with its disk or without.

import assert from "node:assert/strict";
import { converged, LAPTOP, PHONE } from "./support/browser.js";
import { scenario } from "./support/stage.js";
import { until } from "./support/wait.js";

scenario(
  "killed and started again, the server keeps everything, and visitors notice a pause",
  async ({ server, visit }) => {
    const [ana, bo] = [await visit("Ana"), await visit("Bo")];
    await ana.add("todo", "before the crash");
    await converged(ana, bo);
    await ana.page.evaluate(() => (window.sameDocument = true));

    await server.kill();
    await ana.connection("waiting");
    await ana.add("doing", "during the outage");
    await bo.rename("welcome", "renamed during the outage");
    await ana.page.getByTestId("card-pending").first().waitFor();
    await ana.picture("laptop-outage");
    await server.run();

    await ana.connection("connected");
    await bo.connection("connected");
    await until("both pages to have all changes", async () => {
      const dumps = [await ana.dump(), await bo.dump()];
      return dumps.every((dump) =>
        ["before the crash", "during the outage", "renamed during the outage"].every((title) =>
          dump.includes(title),
        ),
      );
    });
    const agreed = await converged(ana, bo);
    for (const page of [ana, bo]) {
      assert.equal(await page.page.getByTestId("history-lost").count(), 0);
      assert.equal(await page.page.getByTestId("toast").count(), 0);
      page.assertNoComplaints({ outage: true });
    }
    assert.ok(await ana.page.evaluate(() => window.sameDocument), "nothing was reloaded");
    await ana.picture("laptop-after-restart-ana");
    await bo.picture("laptop-after-restart-bo");

    // What is on the disk is what they saw.
    await server.kill();
    await server.run();
    const late = await visit("Late Larry");
    assert.equal(await late.dump(), agreed);
  },
);

scenario(
  "a drained server says goodbye, and visitors come back to the next one",
  async ({ server, visit }) => {
    const ana = await visit("Ana");
    await ana.add("todo", "before the drain");
    await ana.settled();
    assert.equal(await server.drain(), 0);
    await until(
      "the page to notice",
      async () =>
        (await ana.page.locator('[data-testid="connection"][data-state="connected"]').count()) === 0,
    );
    await server.run();
    await ana.connection("connected");
    await ana.rename("welcome", "after the drain");
    await ana.settled();
    const late = await visit("Bo");
    assert.equal(await converged(ana, late), await ana.dump());
    ana.assertNoComplaints({ outage: true });
  },
);

scenario(
  "a wiped disk is a new epoch: history_lost is told and everyone converges",
  async ({ server, visit }) => {
    const [ana, bo] = [await visit("Ana"), await visit("Bo", { device: PHONE })];
    await ana.add("todo", "gone with the disk");
    await converged(ana, bo);

    await server.kill();
    await server.wipeDisk();
    await ana.connection("waiting");
    await ana.add("doing", "made while it was down");
    await server.run();

    for (const page of [ana, bo]) await page.page.getByTestId("history-lost").waitFor();
    await ana.page.getByTestId("history-lost").getByText("1 of your confirmed changes is gone").waitFor();
    await until("the change made meanwhile to arrive", async () =>
      (await bo.dump()).includes("made while it was down"),
    );
    const agreed = await converged(ana, bo);
    assert.ok(!agreed.includes("gone with the disk"), "what the disk lost is lost for everyone");
    await ana.picture("laptop-history-lost");
    await bo.picture("phone-history-lost");

    const late = await visit("Late Larry");
    assert.equal(await late.dump(), agreed);
    assert.equal(await late.page.getByTestId("history-lost").count(), 0, "a newcomer lost nothing");
    for (const page of [ana, bo]) page.assertNoComplaints({ outage: true });
  },
);

scenario("pictures of the board, for people", async ({ visit }) => {
  const bo = await visit("Bo");
  await bo.page.mouse.move(720, 300);
  const cleo = await visit("Cleo");
  await cleo.card("restart").getByTestId("card-title").click();
  for (const [name, device] of [
    ["laptop", LAPTOP],
    ["laptop-dark", { ...LAPTOP, colorScheme: "dark" }],
    ["phone", PHONE],
    ["phone-dark", { ...PHONE, colorScheme: "dark" }],
  ]) {
    const ana = await visit("Ana", { device });
    await ana.page.locator('[data-testid="people"][data-count="2"]').waitFor();
    await ana.card("restart").getByTestId("card-editors").waitFor();
    await ana.picture(name);
    await ana.close();
  }
}, { once: true });
