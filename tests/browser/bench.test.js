// The benchmarks of tests/bench/browser still run. A tiny run says nothing about speed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { benchProgram, chromium } from "./support/paths.js";

test("every benchmark of the browser prints sound rows", { timeout: 120_000 }, async () => {
  const script = fileURLToPath(new URL("../bench/browser/bench.mjs", import.meta.url));
  const env = { ...process.env, TEST_CHROMIUM: chromium(), BENCH_PROGRAM: benchProgram() };
  const { stdout } = await promisify(execFile)(process.execPath, [script, "--tiny"], { env });
  const rows = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(rows.length, 6);
  for (const { name, value, baseline, ratio, goal } of rows) {
    assert.ok(value > 0 && baseline > 0 && ratio > 0, name);
    assert.match(goal, /^<= \d/);
  }
});
