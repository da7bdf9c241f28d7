// Chromium, and a board page as its visitor sees it.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium as engine } from "playwright-core";
import { chromium } from "./paths.js";
import { PATIENCE_MS, until } from "./wait.js";

export const LAPTOP = { viewport: { width: 1440, height: 860 } };
export const PHONE = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  hasTouch: true,
  isMobile: true,
};

export function launch(options = {}) {
  return engine.launch({
    ...options,
    executablePath: chromium(),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** Where pictures for people go. */
const pictures = process.env.TEST_SHOTS ?? join(tmpdir(), "tidewire-board-pictures");

export class BoardPage {
  /** Texts that the console showed as errors, and uncaught errors. */
  complaints = [];
  /** Every WebSocket that the page opened. */
  sockets = [];
  #over;

  /** Opens a board as a visitor called `name`, in a browser profile of its own. */
  static async open(browser, url, name, { device = LAPTOP, context, query = {}, ready = true, over = "any" } = {}) {
    const board = new BoardPage();
    board.#over = over;
    board.context = context ?? (await browser.newContext(device));
    board.page = await board.context.newPage();
    board.page.setDefaultTimeout(PATIENCE_MS);
    board.page.on(
      "console",
      (message) => message.type() === "error" && board.complaints.push(message.text()),
    );
    board.page.on("pageerror", (error) => board.complaints.push(String(error)));
    board.page.on("websocket", (socket) => board.sockets.push(socket));
    const address = new URL(url);
    const transports = over === "sse" || over === "long-poll" ? over : undefined;
    for (const [key, value] of Object.entries({ name, debug: "", transports, ...query })) {
      if (value !== undefined) address.searchParams.set(key, value);
    }
    await board.page.goto(address.href);
    if (ready) await board.page.getByTestId("column").first().waitFor();
    // A run over a transport that went over another one would prove nothing.
    if (ready && transports) await board.connection("connected", transports);
    return board;
  }

  card(id) {
    return this.page.locator(`[data-card="${id}"]`);
  }

  cardTitled(title) {
    return this.page
      .getByTestId("card")
      .filter({ has: this.page.getByTestId("card-title").getByText(title, { exact: true }) });
  }

  column(id) {
    return this.page.locator(`[data-column="${id}"]`);
  }

  /** The titles of a column's cards from top to bottom. */
  titles(column) {
    return this.column(column).getByTestId("card-title").allTextContents();
  }

  /** Everything that the tab shows, as canonical JSON. */
  dump() {
    return this.page.evaluate(() => window.__board.dump());
  }

  async rename(id, title) {
    await this.card(id).getByTestId("card-title").click();
    await this.page.getByTestId("title-editor").fill(title);
    await this.page.keyboard.press("Enter");
  }

  async add(column, title) {
    await this.column(column).getByTestId("add-card").click();
    await this.page.getByTestId("title-editor").fill(title);
    await this.page.keyboard.press("Enter");
  }

  /** By mouse, to the end of another column. */
  async drag(id, column) {
    const list = await this.column(column).locator("[data-list]").boundingBox();
    await this.#dragTo(id, { x: list.x + list.width / 2, y: list.y + list.height - 4 });
  }

  /** By mouse, in front of another card. */
  async dragBefore(id, other) {
    const { x, y, width } = await other.boundingBox();
    await this.#dragTo(id, { x: x + width / 2, y: y + 4 });
  }

  async #dragTo(id, to) {
    const from = await this.card(id).boundingBox();
    await this.page.mouse.move(from.x + 40, from.y + 16);
    await this.page.mouse.down();
    await this.page.mouse.move(from.x + 60, from.y + 26, { steps: 3 });
    await this.page.mouse.move(to.x, to.y, { steps: 8 });
    await this.page.mouse.up();
  }

  /** No card is marked as unconfirmed. */
  async settled() {
    await until(
      "every change to be confirmed",
      async () => (await this.page.getByTestId("card-pending").count()) === 0,
    );
  }

  async connection(state, transport) {
    const over = transport ? `[data-transport="${transport}"]` : "";
    await this.page.locator(`[data-testid="connection"][data-state="${state}"]${over}`).waitFor();
  }

  /** For people to look at, once everything has come to rest. */
  async picture(name) {
    if (this.#over !== "any") return;
    await mkdir(pictures, { recursive: true });
    await this.page.evaluate(() => {
      const ending = document
        .getAnimations()
        .filter((each) => each.effect.getComputedTiming().endTime < Infinity);
      return Promise.allSettled(ending.map((each) => each.finished));
    });
    await this.page.screenshot({ path: join(pictures, `${name}.png`) });
  }

  /** While the server is down or drains, or walls stand, browsers say so on the console; that alone is expected. */
  assertNoComplaints({ outage = false, walls = false } = {}) {
    const isRestless = this.#over === "chain";
    const expected = [
      // Whatever breaks off is told, and a session that was cut off is gone when its next request comes.
      this.#over !== "any" && /net::ERR_(INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE)|status of (409|410)/,
      isRestless && /WebSocket connection to .* failed|net::ERR_|status of 403/,
      outage && /WebSocket connection to .* failed|net::ERR_(CONNECTION_REFUSED|SOCKET_NOT_CONNECTED)|status of 503/,
      walls && /WebSocket connection to .* failed|net::ERR_INCOMPLETE_CHUNKED_ENCODING|status of 403/,
    ];
    const unexpected = this.complaints.filter((text) => !expected.some((known) => known && known.test(text)));
    assert.deepEqual(unexpected, []);
  }

  async close() {
    await this.context.close();
  }
}

/** Waits until all pages show the same, and returns that. */
export async function converged(...pages) {
  return until("all pages to show the same board", async () => {
    for (const page of pages) await page.settled();
    const dumps = await Promise.all(pages.map((page) => page.dump()));
    return dumps.every((dump) => dump === dumps[0]) && dumps[0];
  });
}
