// Chromium behind what stands between clients and servers: the boxes of tests/middleboxes, and eight tabs at a time.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./support/browser.js";
import { Middlebox, PageServer } from "./support/middlebox.js";
import { PATIENCE_MS, until } from "./support/wait.js";

/** How long it may take, behind any of them, until a client has data. */
const FIRST_DATA_MS = 5_000;

let browser;
let pages;
before(async () => {
  [browser, pages] = await Promise.all([launch(), PageServer.start()]);
});
after(async () => {
  await browser?.close();
  pages?.stop();
});

/** A test with a box of its own, and tabs that share a browser profile. */
function behind(row, what, play) {
  test(`${row}: ${what}`, { timeout: 300_000 }, async () => {
    const box = await Middlebox.start(row, pages.url);
    const context = await browser.newContext();
    const tab = async (name) => {
      const page = await context.newPage();
      page.setDefaultTimeout(PATIENCE_MS);
      await page.goto(pages.url);
      await page.waitForFunction(() => window.tidewire);
      await page.evaluate(([url, token]) => {
        window.client = window.tidewire.createClient({ url, token });
      }, [box.url, name]);
      return page;
    };
    try {
      await play({ box, tab });
    } finally {
      await context.close();
      await box.stop();
    }
  });
}

/** Waits for the first data; says how long that took, and over what it came. */
const firstData = (page) =>
  page.evaluate(async () => {
    const from = performance.now();
    window.board = window.client.channel("board:main");
    await window.board.ready();
    return { ms: performance.now() - from, transport: window.client.connection.transport };
  });

const put = (page, id) =>
  page.evaluate(async (id) => void (await window.board.put("cards", id, { title: id }).committed), id);

const ids = (page) => page.evaluate(() => [...window.board.ids("cards")].sort());

for (const row of [
  "HAProxy as documented, two servers without stickiness",
  "nginx with nothing but `proxy_pass`: Upgrade stripped",
  "nginx that collects streams whatever the server says",
  "WebSockets open and swallow every frame",
  "responses end inside of an event",
]) {
  behind(row, "data comes in time, and changes go both ways", async ({ box, tab }) => {
    const [ana, bo] = [await tab("ana"), await tab("bo")];
    const first = await firstData(ana);
    assert.equal(first.transport, box.first);
    assert.ok(first.ms <= FIRST_DATA_MS, `it took ${first.ms} ms`);
    await firstData(bo);
    await put(ana, "from-ana");
    await put(bo, "from-bo");
    for (const page of [ana, bo]) {
      await until("both to see both", async () => (await ids(page)).join() === "from-ana,from-bo");
    }
  });
}

behind("captive portal", "the state says why", async ({ tab }) => {
  const page = await tab("ana");
  await page.evaluate(() => window.client.connect());
  const reason = () => page.evaluate(() => window.client.connection.reason?.code);
  await until("the reason to be told", async () => (await reason()) === "blocked", FIRST_DATA_MS);
});

behind(
  "nginx with nothing but `proxy_pass`: Upgrade stripped",
  "eight tabs over HTTP/1.1 are all live, and their changes go through",
  async ({ tab }) => {
    const tabs = [];
    for (let n = 0; n < 8; n++) tabs.push(await tab(`tab${n}`));
    const over = await Promise.all(tabs.map(firstData));
    const held = over.filter(({ transport }) => transport !== "websocket");
    assert.equal(held.length, 8, JSON.stringify(over));
    await Promise.all(tabs.map((page, n) => put(page, `c${n}`)));
    const all = tabs.map((_, n) => `c${n}`).join();
    for (const page of tabs) {
      await until("every tab to see every change", async () => (await ids(page)).join() === all);
      assert.equal(await page.evaluate(() => window.board.status), "live");
    }
  },
);
