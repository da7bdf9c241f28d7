// Pages that are frozen, kept in the back-forward cache or cut off: over each transport nothing is missed and nothing comes
// twice.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./support/browser.js";
import { PageServer } from "./support/middlebox.js";
import { packageDist, tidewireServer } from "./support/paths.js";
import { PATIENCE_MS, soon, until } from "./support/wait.js";

const TRANSPORTS = ["websocket", "sse", "long-poll"];

/** How often a page is frozen. */
const CYCLES = 100;

let browser;
let pages;
before(async () => {
  [browser, pages] = await Promise.all([launch(), PageServer.start()]);
});
after(async () => {
  await browser?.close();
  pages?.stop();
});

/** A test for each transport, with two pages on one board. */
function over(what, play) {
  for (const transport of TRANSPORTS) {
    test(`over ${transport}: ${what}`, { timeout: 300_000 }, async () => {
      const { startServer } = await import(`${packageDist()}testing.js`);
      const server = await startServer({ program: tidewireServer() });
      const context = await browser.newContext();
      const visit = async (name) => {
        const page = await context.newPage();
        page.setDefaultTimeout(PATIENCE_MS);
        await page.goto(pages.url);
        await page.waitForFunction(() => window.tidewire);
        await page.evaluate(
          async ([url, token, transport]) => {
            window.client = window.tidewire.createClient({ url, token, transports: [transport] });
            window.board = window.client.channel("board:life");
            window.frozen = 0;
            window.client.on("connection", ({ state, reason }) => (window.frozen += state === "waiting" && reason?.code === "suspended"));
            window.seen = [];
            window.board.on("change", () => window.seen.push(window.board.get("sums", "all")?.n));
            await window.board.ready();
          },
          [server.url, server.token(name), transport],
        );
        return page;
      };
      try {
        const [ana, bo] = [await visit("ana"), await visit("bo")];
        await bo.evaluate(async () => void (await window.board.put("sums", "all", { n: 0 }).committed));
        await play({ ana, bo, context });
      } finally {
        await context.close();
        await server.stop();
      }
    });
  }
}

/** One more, by this page. */
const count = (page) => page.evaluate(async () => void (await window.board.increment("sums", "all", "n", 1).committed));

const sum = (page) => page.evaluate(() => window.board.get("sums", "all")?.n);

over(`${CYCLES} times frozen and resumed, or kept and brought back`, async ({ ana, bo }) => {
  await until("the first sum", async () => (await sum(ana)) === 0);
  // Playwright keeps every page visible, and Chromium freezes or keeps none of those: the page is told by the test.
  const leaves = () =>
    ana.evaluate((isKept) => {
      if (isKept) dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
      else document.dispatchEvent(new Event("freeze"));
    }, isKept);
  const returns = () =>
    ana.evaluate((isKept) => {
      if (isKept) dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
      else document.dispatchEvent(new Event("resume"));
    }, isKept);
  let isKept = false;
  for (let cycle = 1; cycle <= CYCLES; cycle++) {
    await leaves();
    await count(bo);
    await returns();
    await until(`sum ${cycle}`, async () => (await sum(ana)) === cycle);
    isKept = !isKept;
  }
  await count(ana);
  await soon("ana's own", async () => (await sum(bo)) === CYCLES + 1);
  assert.equal(await ana.evaluate(() => window.frozen), CYCLES, "each time the link was left");
  // What is shown never goes back.
  const seen = await ana.evaluate(() => window.seen.filter((n) => n !== undefined));
  assert.deepEqual(seen, [...seen].sort((one, other) => one - other));
  assert.equal(seen.at(-1), CYCLES + 1);
});

over("cut off from the network and back", async ({ ana, bo, context }) => {
  await until("the first sum", async () => (await sum(ana)) === 0);
  await context.setOffline(true);
  const edits = [ana, bo].map((page) =>
    page.evaluate(() => {
      window.edits = [1, 2, 3].map(() => window.board.increment("sums", "all", "n", 1).committed);
      return window.board.get("sums", "all").n;
    }),
  );
  assert.deepEqual(await Promise.all(edits), [3, 3], "shown at once");
  await context.setOffline(false);
  for (const page of [ana, bo]) {
    await page.evaluate(() => Promise.all(window.edits).then(() => undefined));
    await until("all six", async () => (await sum(page)) === 6);
  }
});
