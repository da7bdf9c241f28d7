// `node bench.mjs [--tiny] [NAME…]`: the benchmarks that run in Chromium, one JSON row a line on standard output.
// `cargo xtask bench` builds what it needs and says where that is.

import { browser } from "./chromium.mjs";
import { serve } from "./serve.mjs";

const names = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const tiny = process.argv.includes("--tiny");

const BENCHES = [
  ["browser-ingest", browserIngest],
  ["optimistic-browser", optimistic],
  ["whole-path", wholePath],
];

/** Whether a benchmark has rows under one of the names. */
const isWanted = (bench) =>
  names.length === 0 || names.some((name) => bench.startsWith(name) || name.startsWith(`${bench}/`));

async function browserIngest(page) {
  const messages = tiny ? 5 : 2_000;
  const sizes = tiny ? [20, 50, 100] : [100, 10_000, 100_000];
  const [small, middle, large] = await page.run("ingest", { sizes, messages, rounds: tiny ? 1 : 7 });
  row("browser-ingest/vs-javascript", "us/patch", middle.ours, middle.plain, "<= 1");
  row("browser-ingest/100-records", "us/patch", small.ours, middle.ours, "<= 1.2");
  row("browser-ingest/100000-records", "us/patch", large.ours, middle.ours, "<= 1.2");
}

async function optimistic(page) {
  const records = tiny ? 1_100 : 10_000;
  const [none, ten, thousand] = await page.run("optimistic", {
    records,
    pending: [0, 10, 1_000],
    rounds: tiny ? 1 : 40,
  });
  row("optimistic-browser/10-pending", "us/set", ten, none, "<= 1.2");
  row("optimistic-browser/1000-pending", "us/set", thousand, none, "<= 1.2");
}

async function wholePath(page) {
  const { ours, bare } = await page.run("wholePath", {
    records: tiny ? 50 : 10_000,
    messages: tiny ? 5 : 3_000,
    rounds: tiny ? 1 : 7,
  });
  row("whole-path/vs-bare-socket", "us/patch", ours, bare, "<= 1.5");
}

function row(name, unit, value, baseline, goal) {
  const rounded = (number) => Number(number.toPrecision(3));
  const ratio = rounded(value / baseline);
  console.log(JSON.stringify({ name, value: rounded(value), unit, baseline: rounded(baseline), ratio, goal }));
}

const server = await serve();
const chromium = await browser(server.url);
try {
  for (const [bench, measure] of BENCHES.filter(([bench]) => isWanted(bench))) {
    console.error(`  ${bench} …`);
    await chromium.inPage(measure);
  }
} finally {
  await chromium.close();
  server.close();
}
