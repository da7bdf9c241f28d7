// The fault panel: every button is pressed while people edit; afterwards everybody has the same board.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { converged, LAPTOP, PHONE } from "./support/browser.js";
import { FaultPanel } from "./support/faults.js";
import { scenario } from "./support/stage.js";
import { until } from "./support/wait.js";

/** Both change a card of their own and a shared one, a few times. */
async function edit(ana, bo, what, times = 3) {
  for (let at = 1; at <= times; at += 1) {
    await ana.rename("edit", `${what} ${at} by Ana`);
    await bo.rename("restart", `${what} ${at} by Bo`);
    await (at % 2 ? ana : bo).rename("welcome", `${what} ${at}`);
  }
}

/** Both have everything, byte for byte, and so does whoever comes now. */
async function agreed(visit, what, ...pages) {
  await until(`the last edits under ${what} to be everywhere`, async () => {
    const dumps = await Promise.all(pages.map((page) => page.dump()));
    return dumps.every((dump) => dump.includes(`${what} 3 by Ana`) && dump.includes(`${what} 3 by Bo`));
  });
  const board = await converged(...pages);
  const late = await visit("Late Larry");
  assert.equal(await converged(late, ...pages), board);
  await late.close();
}

async function visitors(visit) {
  const [ana, bo] = [await visit("Ana", { query: { faults: "" } }), await visit("Bo")];
  const panel = new FaultPanel(ana);
  await panel.ready();
  return { ana, bo, panel };
}

for (const [knob, effect, frame] of [
  ["delay", "delay", "patch"],
  ["duplicate", "duplicate", "patch"],
  ["reorder", "reorder", "patch"],
  ["drop_patches", "drop", "patch"],
  ["drop_acks", "drop", "ack"],
]) {
  scenario(`${knob.replace("_", " ")}: people edit on, and agree byte for byte`, async ({ visit }) => {
    const { ana, bo, panel } = await visitors(visit);
    await panel.everyone();
    await panel.turn(knob, true);
    await edit(ana, bo, knob);
    await panel.struck(effect, frame);
    // While frames are dropped, so is what repairs their loss: nothing bounds when all is everywhere.
    await panel.turn(knob, false);
    await agreed(visit, knob, ana, bo);
    const proofs = await panel.proofs((sums) => sums.changes > 0 && sums.once === sums.changes);
    assert.equal(proofs.twice, 0);
    if (knob === "duplicate") assert.ok(proofs.duplicates > 0, "duplicates were seen and ignored");
    if (knob === "reorder") assert.ok(proofs.gaps > 0, "early patches were seen and kept");
    for (const page of [ana, bo]) page.assertNoComplaints();
  }, { calm: knob === "duplicate" || knob === "reorder" });
}

for (const [act, kind] of [
  ["cut", "closed"],
  ["go_away", "goaway"],
  ["new_epoch", "subscribe"],
]) {
  scenario(`${act.replace("_", " ")}: people edit on, and agree byte for byte`, async ({ visit }) => {
    const { ana, bo, panel } = await visitors(visit);
    await ana.rename("edit", "before");
    await ana.settled();
    await panel.press(act);
    await edit(ana, bo, act);
    await panel.row(kind);
    await agreed(visit, act, ana, bo);
    const proofs = await panel.proofs((sums) => sums.once === sums.changes);
    assert.equal(proofs.twice, 0);
    for (const page of [ana, bo]) page.assertNoComplaints();
  }, { calm: act === "go_away" });
}

scenario("half-open: a silent link is noticed, and nothing is lost or done twice", async ({ visit }) => {
  const { ana, bo, panel } = await visitors(visit);
  await panel.press("half_open");
  await edit(ana, bo, "silence");
  await panel.row("opened", { patience: 60_000 });
  await agreed(visit, "silence", ana, bo);
  const proofs = await panel.proofs((sums) => sums.once === sums.changes);
  assert.equal(proofs.twice, 0);
  for (const page of [ana, bo]) page.assertNoComplaints();
});

scenario("reject: the change shows, is refused and rolled back, and the next one is taken", async ({ visit }) => {
  const { ana, bo, panel } = await visitors(visit);
  const before = await ana.dump();
  await panel.press("reject");
  await ana.rename("welcome", "this will not stay");
  await ana.card("welcome").getByTestId("card-refusal").getByText("the fault panel said no").waitFor();
  assert.equal(await converged(ana, bo), before);
  const proofs = await panel.proofs((sums) => sums.rejected === 1);
  assert.equal(proofs.once, 1);
  await panel.row("patch", { note: "rolled back" });
  await ana.picture("laptop-faults-reject");
  await ana.rename("welcome", "this will");
  assert.ok((await converged(ana, bo)).includes("this will"));
  ana.assertNoComplaints();
});

scenario("restart: the server starts again from its disk, and knobs stay as they were", async ({ visit }) => {
  const { ana, bo, panel } = await visitors(visit);
  await panel.turn("duplicate", true);
  await ana.rename("edit", "before");
  await ana.settled();
  await panel.press("restart");
  await edit(ana, bo, "restart");
  await panel.row("closed");
  await panel.row("welcome", { patience: 60_000 });
  await agreed(visit, "restart", ana, bo);
  await panel.on("duplicate");
  assert.equal(await ana.page.getByTestId("history-lost").count(), 0);
  const proofs = await panel.proofs((sums) => sums.once === sums.changes);
  assert.equal(proofs.twice, 0);
  for (const page of [ana, bo]) page.assertNoComplaints({ outage: true });
});

// Collected, a stream opens and says nothing; blocked, it is refused.
for (const [knob, polled] of [
  ["collect_sse", /\w/],
  ["block_sse", /HTTP 403/],
]) {
  scenario(`walls, ${knob}: the chain falls to SSE and polls, says why, and climbs back`, async ({ visit }) => {
    const { ana, bo, panel } = await visitors(visit);
    const line = (page) => page.page.getByTestId("connection-why");
    const over = async (transport, why) => {
      for (const page of [ana, bo]) {
        await page.page.locator(`[data-testid="connection"][data-state="connected"][data-transport="${transport}"]`).waitFor();
        if (why) await line(page).filter({ hasText: why }).waitFor();
        else await line(page).waitFor({ state: "detached" });
      }
    };
    await over("websocket");
    await panel.turn("block_websocket", true);
    await over("sse", /the connection broke, or could not be opened/);
    await edit(ana, bo, "over-sse");
    await agreed(visit, "over-sse", ana, bo);
    await ana.picture(`laptop-faults-${knob}-sse`);
    await panel.turn(knob, true);
    await over("long-poll", polled);
    await edit(ana, bo, "over-polls");
    await agreed(visit, "over-polls", ana, bo);
    await ana.picture(`laptop-faults-${knob}-long-poll`);
    await panel.press("calm");
    await panel.on("block_websocket", false);
    await over("websocket");
    await edit(ana, bo, "back");
    await agreed(visit, "back", ana, bo);
    // What is walled off is told on the console, by the browser.
    for (const page of [ana, bo]) page.assertNoComplaints({ walls: true });
  }, { once: true });
}

scenario("freeze: the tab stands still, and catches up when it runs again", async ({ visit }) => {
  const { ana, bo, panel } = await visitors(visit);
  await ana.rename("edit", "freeze 3 by Ana");
  await ana.settled();
  // Not awaited as a click: the page answers nobody until it runs again.
  const frozen = panel.press("freeze");
  await bo.rename("welcome", "while Ana stood still");
  await bo.rename("restart", "freeze 3 by Bo");
  await bo.settled();
  await frozen;
  await panel.row("freeze");
  await agreed(visit, "freeze", ana, bo);
  for (const page of [ana, bo]) page.assertNoComplaints();
});

scenario("the replay file downloads, and says what was done", async ({ visit }) => {
  const { ana, bo, panel } = await visitors(visit);
  await panel.turn("duplicate", true);
  await edit(ana, bo, "file");
  await agreed(visit, "file", ana, bo);
  await panel.turn("duplicate", false);
  await panel.press("cut");
  await panel.row("closed");
  await ana.connection("connected");

  const [download] = await Promise.all([
    ana.page.waitForEvent("download"),
    ana.page.getByTestId("fault-replay").click(),
  ]);
  assert.equal(download.suggestedFilename(), "tidewire-replay.json");
  const file = JSON.parse(await readFile(await download.path(), "utf8"));
  assert.equal(file.version, 1);
  assert.equal(typeof file.plan.seed, "number");
  const [rule] = file.plan.rules;
  assert.deepEqual(rule.effect, "duplicate");
  assert.equal(rule.principal, "Ana");
  assert.ok(rule.until_ms > rule.from_ms);
  assert.deepEqual(
    file.plan.actions.map(({ action }) => action),
    [{ cut: { principal: "Ana" } }],
  );
  const doubled = file.struck.filter(({ effect }) => effect === "duplicate");
  assert.ok(doubled.length >= 3);
  for (const strike of doubled) {
    assert.deepEqual(
      [strike.direction, strike.frame, strike.channel, strike.principal],
      ["down", "patch", "board:main", "Ana"],
    );
    assert.ok(strike.seq > 0 && strike.conn > 0 && strike.at_ms >= 0);
  }
  assert.equal(file.tallies[0].struck, doubled.length);
  await ana.page.getByTestId("fault-calm").click();
  await panel.told("All faults are off");
  ana.assertNoComplaints();
});

scenario("the panel opens and closes with the address, by mouse and keyboard", async ({ visit }) => {
  const ana = await visit("Ana");
  const [toggle, panel] = [ana.page.getByTestId("fault-toggle"), ana.page.getByTestId("fault-panel")];
  assert.equal(await panel.count(), 0);
  assert.equal(await toggle.getAttribute("aria-expanded"), "false");
  await toggle.click();
  await panel.waitFor();
  assert.ok(new URL(ana.page.url()).searchParams.has("faults"));
  await ana.page.reload();
  await panel.waitFor();
  await panel.getByLabel("Close the fault panel").focus();
  await ana.page.keyboard.press("Enter");
  await panel.waitFor({ state: "detached" });
  assert.ok(!new URL(ana.page.url()).searchParams.has("faults"));
  assert.equal(new URL(ana.page.url()).searchParams.get("name"), "Ana");
  ana.assertNoComplaints();
}, { once: true });

scenario("pictures of the fault panel, for people", async ({ visit }) => {
  const bo = await visit("Bo");
  for (const [name, device] of [
    ["laptop-faults", LAPTOP],
    ["laptop-faults-dark", { ...LAPTOP, colorScheme: "dark" }],
    ["small-laptop-faults", { viewport: { width: 1024, height: 700 } }],
    ["phone-faults", PHONE],
    ["phone-faults-dark", { ...PHONE, colorScheme: "dark" }],
  ]) {
    const ana = await visit("Ana", { device, query: { faults: "" } });
    const panel = new FaultPanel(ana);
    await panel.ready();
    await panel.turn("reorder", true);
    for (const title of ["one", "two", "three", "four"]) await bo.rename("restart", `${name} ${title}`);
    await ana.rename("welcome", `${name}, by Ana`);
    await ana.settled();
    await panel.turn("reorder", false);
    await panel.struck("reorder", "patch");
    const box = await panel.box();
    const { width, height } = device.viewport;
    assert.ok(box.x >= 0 && box.x + box.width <= width && box.y + box.height <= height + 1, name);
    assert.equal(await ana.page.evaluate(() => document.documentElement.scrollWidth), width);
    await ana.picture(name);
    await ana.close();
  }
}, { once: true });
