// What every test file needs: one browser for the file, and a server of its own for each test.

import { after, before, test } from "node:test";
import { BoardPage, launch } from "./browser.js";
import { NativeEditor } from "./native.js";
import { BoardServer } from "./server.js";
import { SlowLink } from "./slow-link.js";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/**
 * Declares a test. Its function gets a running `server` and ways to bring visitors in;
 * everyone and everything is gone afterwards, whatever happened.
 */
export function scenario(name, play, { page } = {}) {
  test(name, { timeout: 300_000 }, async () => {
    const leaving = [];
    const guest = (someone, leave) => {
      leaving.unshift(() => leave(someone));
      return someone;
    };
    const server = guest(await BoardServer.start({ page: page?.() }), (it) => it.stop());
    const stage = {
      browser,
      server,
      visit: async (visitor, options = {}) =>
        guest(await BoardPage.open(browser, options.url ?? server.url, visitor, options), (it) => it.close()),
      native: (visitor) => guest(new NativeEditor(server.url, visitor), (it) => it.stop()),
      slowLink: async (delayMs) => guest(await SlowLink.to(server.url, delayMs), (it) => it.stop()),
    };
    try {
      await play(stage);
    } finally {
      for (const leave of leaving) await leave();
    }
  });
}
