// The page itself: one connection, a quiet console, and plain words when it may not come in.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { buildForDevelopment } from "./support/dev-build.js";
import { scenario } from "./support/stage.js";

let development;
before(async () => {
  development = await buildForDevelopment();
});
after(() => development?.remove());

/** Visits, works, and looks at the connections and the console. */
const oneQuietConnection = async ({ visit }) => {
  const ana = await visit("Ana");
  await ana.add("todo", "hello");
  await ana.drag("welcome", "done");
  await ana.rename("edit", "hello");
  await ana.settled();
  assert.equal(ana.sockets.length, 1);
  assert.equal(new URL(ana.sockets[0].url()).pathname, "/v1/ws");
  ana.assertNoComplaints();
};
scenario("a page opens one WebSocket and keeps the console clean", oneQuietConnection, { once: true });
scenario("so does React's development build, where StrictMode mounts everything twice", oneQuietConnection, {
  page: () => development.dir,
  once: true,
});

scenario("what a page shows is open to scripts only with ?debug", async ({ visit }) => {
  const ana = await visit("Ana", { query: { debug: undefined } });
  assert.equal(await ana.page.evaluate(() => typeof window.__board), "undefined");
}, { once: true });

scenario("whoever leaves the page is gone for the others at once, and back with it", async ({ visit }) => {
  const [ana, bo] = [await visit("Ana"), await visit("Bo")];
  const people = (count) =>
    ana.page.locator(`[data-testid="people"][data-count="${count}"]`).waitFor({ state: "attached" });
  await people(1);
  await bo.page.goto("about:blank");
  await people(0);
  await bo.page.goBack();
  await people(1);
});

scenario("a wrong token is told by its code and in words, and is not tried again", async ({ visit }) => {
  const ana = await visit("Ana", { query: { token: "wrong" }, ready: false });
  const fatal = ana.page.getByTestId("fatal");
  await fatal.waitFor();
  assert.equal(await fatal.getAttribute("data-code"), "unauthenticated");
  await fatal.getByText("does not accept this token").waitFor();
  await ana.connection("closed");
  assert.equal(ana.sockets.length, 1);
  await ana.picture("laptop-wrong-token");
}, { once: true });

scenario("boards of other names are other boards", async ({ visit }) => {
  const [ana, bo] = [
    await visit("Ana", { query: { board: "one" } }),
    await visit("Bo", { query: { board: "two" } }),
  ];
  await ana.add("todo", "only on one");
  await ana.settled();
  await bo.add("todo", "only on two");
  await bo.settled();
  assert.ok(!(await bo.dump()).includes("only on one"));
  assert.ok(!(await ana.dump()).includes("only on two"));
});

scenario("a long column scrolls by itself, and the page never does", async ({ visit }) => {
  const ana = await visit("Ana");
  for (let count = 1; count <= 12; count += 1) await ana.add("todo", `card ${count}`);
  await ana.settled();
  const list = ana.column("todo").locator("[data-list]");
  assert.ok(await list.evaluate((element) => element.scrollHeight > element.clientHeight));
  assert.ok(await ana.page.evaluate(() => document.documentElement.scrollHeight <= innerHeight));
}, { once: true });
