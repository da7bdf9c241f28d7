// Follows a document word for word, in an empty folder, and then looks at what it says one sees.
//
// The rules, which docs/testing.md has for people: a fence with a title is a file; `sh` is typed into a
// terminal and ends, unless it `keeps-running`; `text` is what the last command prints (or that of `of`).
// Two things differ from what a reader does: ports are free ones, and packages of ours are those that
// were packed (commands/).

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { given, packedCrate, repository } from "./environment.js";
import { fences } from "./markdown.js";
import { Terminal } from "./terminal.js";
import { PATIENCE_MS, until } from "./wait.js";

const COMMANDS = fileURLToPath(new URL("commands", import.meta.url));

/** The port of the server that documents name. */
const PORT = "7400";

/**
 * Declares a test that follows `FOLDER/NAME`, in a place where commands `before` it were typed, and then calls `look`. Other
 * `ports` that it names are free ones too; fences in languages that are `compiled` elsewhere are passed over.
 */
export function follow(name, look = () => {}, { folder = "docs", before = [], ports = [], compiled = [] } = {}) {
  test(`${name}, word for word`, { timeout: 900_000 }, async () => {
    const reader = await Reader.sitsDown(ports);
    try {
      for (const command of before) await reader.types(command);
      const document = await readFile(repository(`${folder}/${name}`), "utf8");
      for (const fence of fences(document).filter(({ language }) => !compiled.includes(language))) {
        try {
          await reader.does(fence);
        } catch (error) {
          throw new Error(`${folder}/${name}:${fence.line}: ${error.message}`);
        }
      }
      await look(reader);
      reader.hasSeenNoErrors();
    } finally {
      await reader.leaves();
    }
  });
}

/** Somebody who does what a document says. */
class Reader {
  #desk;
  #dir;
  #env;
  /** What stands in the place of each port that documents name. */
  #ports;
  #terminals = new Map();
  #last;
  #browser;
  #errors = [];

  static async sitsDown(ports = []) {
    const reader = new Reader();
    reader.#desk = await mkdtemp(join(tmpdir(), "tidewire-quickstart-"));
    reader.#dir = join(reader.#desk, "empty");
    reader.#ports = new Map();
    for (const port of [PORT, ...ports]) reader.#ports.set(port, await freePort());
    const installed = join(reader.#desk, "bin");
    for (const dir of [reader.#dir, installed, join(reader.#desk, ".cargo")]) await mkdir(dir);
    await writeFile(join(reader.#desk, ".cargo/config.toml"), cargoConfig());
    reader.#env = {
      ...process.env,
      PATH: [COMMANDS, installed, process.env.PATH].join(delimiter),
      INSTALLED: installed,
      TIDEWIRE_LISTEN: `127.0.0.1:${reader.#ports.get(PORT)}`,
      TEST_TARBALL: given("TEST_TARBALL"),
      TEST_BIN_DIR: given("TEST_BIN_DIR"),
      TEST_CRATES: given("TEST_CRATES"),
      // Of the repository's own build: what that has compiled in the same way serves here too.
      CARGO_TARGET_DIR: given("TEST_TARGET_DIR"),
      CARGO_PROFILE_DEV_DEBUG: "line-tables-only",
      CARGO_NET_OFFLINE: "true",
      npm_config_prefer_offline: "true",
      npm_config_audit: "false",
      npm_config_fund: "false",
      NO_COLOR: "1",
    };
    // Ours, from `node --test`: a document's own test run must not report to it.
    delete reader.#env.NODE_TEST_CONTEXT;
    return reader;
  }

  /** Does what one fence says. */
  async does({ language, words, named, text }) {
    let said = text;
    for (const [port, free] of this.#ports) said = said.replaceAll(port, String(free));
    if (named.title) {
      const file = join(this.#dir, named.title);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, said);
    } else if (language === "sh" && words.has("keeps-running")) {
      this.#last = this.#terminal(said);
      this.#last.start();
    } else if (language === "sh") {
      await this.types(said);
    } else if (language === "text") {
      const terminal = named.of ? this.terminal(named.of) : this.#last;
      await terminal.shows(said.trimEnd().split("\n"));
    } else {
      throw new Error(`what is to be done with this ${language || "text without a language"}? A file needs a title`);
    }
  }

  /** Types a command and waits until it ends. */
  async types(text) {
    this.#last = this.#terminal(text);
    await this.#last.run();
  }

  /** The terminal in which a command of the document was typed. */
  terminal(command) {
    const found = this.#terminals.get(command);
    if (!found) throw new Error(`the document has no command \`${command}\``);
    return found;
  }

  /** Opens the page that Vite serves, in a window of its own. */
  async window() {
    this.#browser ??= await chromium.launch({
      executablePath: given("TEST_CHROMIUM"),
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    });
    const vite = this.terminal("npx vite");
    const url = await until("Vite to serve", () => /http:\/\/localhost:\d+/.exec(vite.output)?.[0], () => vite.output);
    const page = await (await this.#browser.newContext()).newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("console", (message) => message.type() === "error" && this.#errors.push(message.text()));
    page.on("pageerror", (error) => this.#errors.push(String(error)));
    await page.goto(url);
    return page;
  }

  /** What consoles complained about so far is expected. */
  shrugs(expected) {
    this.#errors = this.#errors.filter((text) => !expected.test(text));
  }

  hasSeenNoErrors() {
    if (this.#errors.length > 0) throw new Error(`a page complained:\n${this.#errors.join("\n")}`);
  }

  async leaves() {
    await this.#browser?.close();
    for (const terminal of this.#terminals.values()) await terminal.stop();
    await rm(this.#desk, { recursive: true });
  }

  #terminal(text) {
    const command = text.trimEnd();
    const terminal = new Terminal(command, { dir: this.#dir, env: this.#env });
    this.#terminals.set(command, terminal);
    return terminal;
  }
}

/**
 * What our crates depend on of ours is taken from what was packed, too. Dependencies are compiled as the
 * repository's own are, so that those with the same features are there already.
 */
function cargoConfig() {
  const core = JSON.stringify(packedCrate("tidewire-core"));
  return `[patch.crates-io]\ntidewire-core = { path = ${core} }\n\n[profile.dev.package."*"]\ndebug = false\n`;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
