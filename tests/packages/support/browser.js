// Chromium, and a page that must work without a word on its console.

import assert from "node:assert/strict";
import { chromium as engine } from "playwright-core";
import { PATIENCE_MS } from "./child.js";
import { chromium } from "./paths.js";

export function launch() {
  return engine.launch({
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

/** Opens a page and waits for what it reports. It may not complain about anything, nor ask for what is not there. */
export async function visit(browser, url, query) {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    const complaints = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("response", (answer) => answer.status() >= 400 && complaints.push(`${answer.status()} ${answer.url()}`));
    const address = new URL(url);
    for (const [key, value] of Object.entries(query)) address.searchParams.set(key, value);
    await page.goto(address.href, { timeout: PATIENCE_MS });
    const report = page.locator("#report:not(:empty)");
    try {
      await report.waitFor({ state: "attached", timeout: PATIENCE_MS });
    } catch (cause) {
      throw new Error(`${address} reported nothing; its console: ${complaints.join("\n") || "(silent)"}`, { cause });
    }
    assert.deepEqual(complaints, []);
    return JSON.parse(await report.textContent());
  } finally {
    await context.close();
  }
}
