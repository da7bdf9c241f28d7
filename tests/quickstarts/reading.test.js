// The runner itself: what it reads, and that it notices what is not as a document says.

import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { fences } from "./markdown.js";
import { Terminal } from "./terminal.js";

const terminal = (command) => new Terminal(command, { dir: tmpdir(), env: process.env });

test("a fence has a language, words, names, and its text", () => {
  const document = 'a\n```sh keeps-running\nrun `it`\n```\n```tsx title=src/App.tsx\n\n<p />\n```\n```text of="a b"\nx\n```\n```rust,no_run\n```\n';
  const found = fences(document).map(({ language, words, named, text, line }) => [line, language, [...words], named, text]);
  assert.deepEqual(found, [
    [2, "sh", ["keeps-running"], {}, "run `it`\n"],
    [5, "tsx", [], { title: "src/App.tsx" }, "\n<p />\n"],
    [9, "text", [], { of: "a b" }, "x\n"],
    [12, "rust", ["no_run"], {}, ""],
  ]);
  assert.throws(() => fences("```sh\nls\n"), /line 1 is never closed/);
});

test("a command that fails is noticed, with what it printed", async () => {
  await assert.rejects(terminal("echo so; false; echo not").run(), /ended with 1:\nso\n$/);
});

test("lines count in their order, colours and indents do not, and `…` stands for the rest", async () => {
  const printed = terminal("printf '\\033[32m  one\\033[0m\\n'; echo other; echo two of many");
  await printed.run();
  await printed.shows(["one", "two…"]);
  await assert.rejects(printed.shows(["two of many", "one"]), /and not:\ntwo of many\none/);
  await assert.rejects(printed.shows(["two"]), /and not:\ntwo/);
});

test("a command that keeps running is stopped, with all that it started", async () => {
  const running = terminal("echo up; sleep 600 | cat");
  running.start();
  await running.shows(["up"]);
  await running.stop();
  await running.stop();
});
