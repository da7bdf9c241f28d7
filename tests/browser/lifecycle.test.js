// Pages that the browser freezes, keeps in its back-forward cache or cuts off: over each transport nothing is missed and
// nothing comes twice.

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
  // Playwright turns the cache off that this is about.
  [browser, pages] = await Promise.all([launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] }), PageServer.start()]);
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
            window.client.on("connection", ({ reason }) => (window.frozen += reason?.code === "suspended"));
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

over(`${CYCLES} times frozen and resumed`, async ({ ana, bo, context }) => {
  const devtools = await context.newCDPSession(ana);
  const life = (state) => devtools.send("Page.setWebLifecycleState", { state });
  await until("the first sum", async () => (await sum(ana)) === 0);
  for (let cycle = 1; cycle <= CYCLES; cycle++) {
    await life("frozen");
    await count(bo);
    await life("active");
    await until(`sum ${cycle}`, async () => (await sum(ana)) === cycle);
  }
  await count(ana);
  await soon("ana's own", async () => (await sum(bo)) === CYCLES + 1);
  assert.equal(await ana.evaluate(() => window.frozen), CYCLES, "each time the link was left");
  // What is shown never goes back.
  const seen = await ana.evaluate(() => window.seen.filter((n) => n !== undefined));
  assert.deepEqual(seen, [...seen].sort((one, other) => one - other));
  assert.equal(seen.at(-1), CYCLES + 1);
});

over("left and come back to, from the back-forward cache", async ({ ana, bo, context }) => {
  // Playwright does not see a page that comes out of the cache: what it is and shows, its board says.
  await ana.evaluate(() => {
    const tell = () => void window.board.put("sums", "ana", { back: window.back, n: window.board.get("sums", "all").n });
    window.back = 0;
    addEventListener("pageshow", ({ persisted }) => {
      window.back += persisted ? 1 : 1000;
      tell();
      window.board.on("change", ({ keys }) => keys.some(({ id }) => id === "all") && tell());
    });
  });
  const devtools = await context.newCDPSession(ana);
  for (let cycle = 1; cycle <= 5; cycle++) {
    const { currentIndex, entries } = await devtools.send("Page.getNavigationHistory");
    await devtools.send("Page.navigate", { url: "about:blank" });
    await count(bo);
    await devtools.send("Page.navigateToHistoryEntry", { entryId: entries[currentIndex].id });
    const told = () => bo.evaluate(() => window.board.get("sums", "ana"));
    await soon(`the page as it was, with sum ${cycle}`, async () => {
      const { back, n } = (await told()) ?? {};
      return back === cycle && n === cycle;
    });
  }
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
