// A terminal with one command in it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { until } from "./wait.js";

/** The longest that a command may take until it ends, or prints what it should: Rust is compiled on a slow machine. */
const COMMAND_MS = 600_000;

const COLOURS = /\x1b\[[0-9;]*m/g;

export class Terminal {
  /** What the command has printed, on either stream. */
  output = "";
  #command;
  #options;
  #child;

  constructor(command, { dir, env }) {
    this.#command = command;
    this.#options = { cwd: dir, env, detached: true, stdio: ["ignore", "pipe", "pipe"] };
  }

  /** Types the command, and waits until it ends. */
  async run() {
    this.start();
    const timer = setTimeout(() => this.#signal("SIGKILL"), COMMAND_MS);
    const [code, signal] = await once(this.#child, "close");
    clearTimeout(timer);
    if (code !== 0) throw new Error(`\`${this.#command}\` ended with ${code ?? signal}:\n${this.output}`);
  }

  /** Types the command. What an earlier run printed is wiped away. */
  start() {
    this.output = "";
    this.#child = spawn("sh", ["-ec", this.#command], this.#options);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.output += text.replaceAll(COLOURS, "")));
    }
  }

  /** Ctrl-C, and waits until the command has ended. */
  async stop() {
    if (!this.#isRunning) return;
    const ended = once(this.#child, "close");
    this.#signal("SIGINT");
    const timer = setTimeout(() => this.#signal("SIGKILL"), 10_000);
    await ended;
    clearTimeout(timer);
  }

  /** Waits until these lines stand in the output, in this order. */
  async shows(lines) {
    const found = () => inOrder(lines, this.output.split("\n"));
    await until(
      `\`${this.#command}\` to print\n${lines.join("\n")}`,
      () => found() || !this.#isRunning,
      () => `it printed:\n${this.output}`,
      COMMAND_MS,
    );
    if (!found()) throw new Error(`\`${this.#command}\` printed:\n${this.output}\nand not:\n${lines.join("\n")}`);
  }

  get #isRunning() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** To the command and to all that it started. */
  #signal(name) {
    try {
      process.kill(-this.#child.pid, name);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }
}

/** Whether each wanted line is a line of the output, behind the one before. Spaces at the ends do not count; `…` ends a beginning. */
function inOrder(wanted, lines) {
  let at = 0;
  for (const line of lines) {
    // Vite takes the next port if its own is in use.
    const usual = line.trim().replace(/localhost:\d+/, "localhost:5173");
    if (at < wanted.length && fits(usual, wanted[at].trim())) at += 1;
  }
  return at === wanted.length;
}

function fits(line, wanted) {
  return wanted.endsWith("…") ? line.startsWith(wanted.slice(0, -1)) : line === wanted;
}
