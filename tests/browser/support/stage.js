// What every test file needs: one browser for the file, and a server of its own for each test.
//
// `TEST_TRANSPORT` says what its visitors go over: `any`, which is WebSocket here, or `sse`, `long-poll`, or `chain`: whatever works in
// a network that changes all the time. Several may be named, with commas; `turns` is each scenario over one of the three, in turn.

import { after, before, test } from "node:test";
import { BoardPage, launch } from "./browser.js";
import { NativeEditor } from "./native.js";
import { Restless } from "./restless.js";
import { BoardServer } from "./server.js";
import { SlowLink } from "./slow-link.js";

const OTHERS = ["sse", "long-poll", "chain"];
const OVER = (process.env.TEST_TRANSPORT ?? "any").split(",");
let turns = 0;

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/**
 * Declares a test. Its function gets a running `server` and ways to bring visitors in;
 * everyone and everything is gone afterwards, whatever happened. `once`: it is about looks, or about one transport. `calm`: it is
 * about a word that a network which changes all the time may lose.
 */
export function scenario(name, play, { page, once = false, calm = false } = {}) {
  const suits = (over) => over === "any" || !(once || (calm && over === "chain"));
  const all = OVER[0] === "turns" ? [...OTHERS, ...OTHERS].slice(turns % OTHERS.length) : OVER;
  const suiting = all.filter(suits);
  const played = OVER[0] === "turns" ? suiting.slice(0, 1) : suiting;
  if (played.length > 0) turns += 1;
  for (const over of played) declare(name, over, play, page);
}

function declare(name, over, play, page) {
  test(over === "any" ? name : `over ${over}: ${name}`, { timeout: 300_000 }, async () => {
    const leaving = [];
    const guest = (someone, leave) => {
      leaving.unshift(() => leave(someone));
      return someone;
    };
    const server = guest(await BoardServer.start({ page: page?.() }), (it) => it.stop());
    const stage = {
      browser,
      server,
      visit: async (visitor, options = {}) => {
        let url = options.url ?? server.url;
        if (over === "chain") url = guest(await Restless.before(url), (it) => it.stop()).url;
        return guest(await BoardPage.open(browser, url, visitor, { ...options, over }), (it) => it.close());
      },
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
