// The board on a phone.

import assert from "node:assert/strict";
import { converged, PHONE } from "./support/browser.js";
import { scenario } from "./support/stage.js";
import { soon } from "./support/wait.js";

/** A finger, down to the events that the browser makes of it. */
async function finger(board) {
  const session = await board.context.newCDPSession(board.page);
  const send = (type, points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points });
  return {
    down: (point) => send("touchStart", [point]),
    up: () => send("touchEnd", []),
    async slide(from, to, steps = 10) {
      for (let step = 1; step <= steps; step += 1) {
        const along = (axis) => from[axis] + ((to[axis] - from[axis]) * step) / steps;
        await send("touchMove", [{ x: along("x"), y: along("y") }]);
      }
    },
  };
}

const middle = ({ x, y, width, height }) => ({ x: x + width / 2, y: y + height / 2 });

scenario("a finger lifts a card by resting on it and drops it on a column's tab", async ({ visit }) => {
  const [ana, bo] = [await visit("Ana", { device: PHONE }), await visit("Bo")];
  const hand = await finger(ana);
  const from = middle(await ana.card("drag").boundingBox());
  const tab = middle(await ana.page.locator('[data-tab="review"]').boundingBox());

  await hand.down(from);
  await ana.card("drag").and(ana.page.locator('[data-carried="pointer"]')).waitFor({ state: "attached" });
  await hand.slide(from, { x: from.x, y: from.y + 90 });
  await ana.picture("phone-carrying");
  await hand.slide({ x: from.x, y: from.y + 90 }, tab);
  await hand.up();

  await soon("the card to arrive", async () => JSON.parse(await bo.dump()).cards.drag.column === "review");
  await converged(ana, bo);
  assert.equal(
    (await ana.titles("review")).at(-1),
    await bo.card("drag").getByTestId("card-title").textContent(),
  );
  ana.assertNoComplaints();
}, { once: true });

scenario("a finger reorders cards within a column", async ({ visit }) => {
  const [ana, bo] = [await visit("Ana", { device: PHONE }), await visit("Bo")];
  const [first, second] = await ana.titles("todo");
  const hand = await finger(ana);
  const from = middle(await ana.card("welcome").boundingBox());
  const below = await ana.card("drag").boundingBox();

  await hand.down(from);
  await ana.card("welcome").and(ana.page.locator('[data-carried="pointer"]')).waitFor({ state: "attached" });
  await hand.slide(from, { x: from.x, y: below.y + below.height - 6 });
  await hand.up();

  await soon("the new order to arrive", async () => (await bo.titles("todo"))[0] === second);
  assert.equal((await ana.titles("todo"))[1], first);
  await converged(ana, bo);
}, { once: true });

scenario("a swipe scrolls and moves no card; a tap edits", async ({ visit }) => {
  const ana = await visit("Ana", { device: PHONE });
  const before = await ana.dump();
  const hand = await finger(ana);
  const from = middle(await ana.card("drag").boundingBox());
  await hand.down(from);
  await hand.slide(from, { x: from.x - 260, y: from.y });
  await hand.up();
  const scrolled = () => ana.page.getByTestId("board").evaluate((board) => board.scrollLeft);
  await soon("the next column to be in view", async () => (await scrolled()) > 200);
  await ana.page.locator('[data-tab="doing"][aria-current="true"]').waitFor();
  assert.equal(await ana.dump(), before);

  await ana.card("edit").getByTestId("card-title").tap();
  await ana.page.getByTestId("title-editor").fill("tapped");
  await ana.page.keyboard.press("Enter");
  await ana.settled();
  assert.equal((await ana.titles("doing"))[0], "tapped");
}, { once: true });

scenario("nothing is wider than a phone", async ({ visit }) => {
  const ana = await visit("Ana", { device: { ...PHONE, viewport: { width: 360, height: 640 } } });
  assert.equal(await ana.page.evaluate(() => document.documentElement.scrollWidth), 360);
}, { once: true });
