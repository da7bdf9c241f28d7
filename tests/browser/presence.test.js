// Who is here, where they point, and what they have open.

import assert from "node:assert/strict";
import { PHONE } from "./support/browser.js";
import { scenario } from "./support/stage.js";
import { soon, until } from "./support/wait.js";

const peopleAt = (board) => board.page.getByTestId("people").getAttribute("aria-label");

scenario("visitors appear, point, edit, rename themselves and disappear", async ({ visit }) => {
  const ana = await visit("Ana");
  assert.equal(await peopleAt(ana), "Nobody else is here");
  const bo = await visit("Bo");
  await soon("Ana to see Bo", async () => (await peopleAt(ana)) === "Also here: Bo");
  await soon("Bo to see Ana", async () => (await peopleAt(bo)) === "Also here: Ana");

  const card = await bo.card("edit").boundingBox();
  await bo.page.mouse.move(card.x + 50, card.y + 20);
  const cursor = ana.page.getByTestId("cursor");
  await cursor.getByText("Bo", { exact: true }).waitFor();
  await soon("the cursor to point at the same card", async () => {
    const [point, target] = [await cursor.boundingBox(), await ana.card("edit").boundingBox()];
    return Math.abs(point.x - target.x - 50) < 3 && Math.abs(point.y - target.y - 20) < 3;
  });

  await bo.card("edit").getByTestId("card-title").click();
  await ana.card("edit").getByTestId("card-editors").getByText("Bo is editing").waitFor();
  await bo.page.keyboard.press("Escape");
  await ana.card("edit").getByTestId("card-editors").waitFor({ state: "detached" });

  await bo.page.getByTestId("name").fill("Bo the Brave");
  await bo.page.keyboard.press("Enter");
  await soon("the new name to arrive", async () => (await peopleAt(ana)) === "Also here: Bo the Brave");

  await bo.close();
  await soon("Bo to be gone", async () => (await peopleAt(ana)) === "Nobody else is here");
  await cursor.waitFor({ state: "detached" });
  ana.assertNoComplaints();
});

scenario("a pointer means the same card on a laptop and on a phone", async ({ visit }) => {
  const [ana, bo] = [await visit("Ana"), await visit("Bo", { device: PHONE })];
  const card = await ana.card("welcome").boundingBox();
  await ana.page.mouse.move(card.x + card.width / 2, card.y + 10);
  await soon("the cursor to stand on the same card", async () => {
    const [point, target] = [
      await bo.page.getByTestId("cursor").boundingBox(),
      await bo.card("welcome").boundingBox(),
    ];
    return (
      point &&
      point.x > target.x &&
      point.x < target.x + target.width &&
      Math.abs(point.y - target.y - 10) < 3
    );
  });
});

scenario("a terminal is somebody too", async ({ visit, native }) => {
  const ana = await visit("Ana");
  const cleo = native("cleo");
  await until("the terminal to be here", async () => (await peopleAt(ana)) === "Also here: cleo");
  await cleo.stop();
  await until("the terminal to be gone", async () => (await peopleAt(ana)) === "Nobody else is here");
});
