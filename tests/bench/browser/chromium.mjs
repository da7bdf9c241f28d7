// Chromium, and a page in it that measures.

import { createRequire } from "node:module";

// The browser tests' own copy: one place says which version drives Chromium.
const { chromium } = createRequire(new URL("../../browser/package.json", import.meta.url))("playwright-core");

/** A profile of a run is written here when BENCH_PROFILE names a file. */
const profile = process.env.BENCH_PROFILE;

export async function browser(url) {
  const program = await chromium.launch({
    executablePath: process.env.TEST_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"],
  });
  return {
    /** Calls `measure` with a fresh page; what the page throws fails it. */
    async inPage(measure) {
      const tab = await program.newPage();
      tab.setDefaultTimeout(0);
      tab.on("console", (message) => console.error(`    ${message.text()}`));
      await tab.goto(url);
      await measure({
        run: async (name, options) => {
          const call = () =>
            tab.evaluate(
              async ([name, options]) => (await import("/page/benches.js"))[name](options),
              [name, options],
            );
          return profile ? profiled(tab, call) : call();
        },
      });
      await tab.close();
    },
    close: () => program.close(),
  };
}

async function profiled(tab, call) {
  const { writeFile } = await import("node:fs/promises");
  const session = await tab.context().newCDPSession(tab);
  await session.send("Profiler.enable");
  await session.send("Profiler.setSamplingInterval", { interval: 200 });
  await session.send("Profiler.start");
  const result = await call();
  const { profile: taken } = await session.send("Profiler.stop");
  await writeFile(profile, JSON.stringify(taken));
  return result;
}
