// Child processes that end with the test that started them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** The longest that anything here may take on a busy machine. */
export const PATIENCE_MS = 600_000;

/** A process in a group of its own, so that what it starts ends with it. */
export class Child {
  /** All that it wrote, of both streams. */
  log = "";
  #process;
  #name;

  constructor(file, args, { cwd, env = {} } = {}) {
    this.#name = [file, ...args].join(" ");
    this.#process = spawn(file, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.log += text));
    }
  }

  /** The first group of the first line that matches. */
  line(pattern) {
    return new Promise((resolve, reject) => {
      const giveUp = (why) => reject(new Error(`${this.#name} ${why}\n${this.log}`));
      const timer = setTimeout(() => giveUp(`printed no ${pattern}`), PATIENCE_MS);
      this.#process.once("error", (error) => giveUp(`did not start: ${error.message}`));
      this.#process.once("exit", (code) => giveUp(`ended with ${code}`));
      createInterface({ input: this.#process.stdout }).on("line", (line) => {
        const found = pattern.exec(line);
        if (!found) return;
        clearTimeout(timer);
        resolve(found[1]);
      });
    });
  }

  async stop() {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    process.kill(-child.pid, "SIGKILL");
    await gone;
  }
}

/** Runs a program to its end and returns what it printed on standard output. */
export function run(file, args, { cwd, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: PATIENCE_MS,
    });
    let [printed, complaints] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text) => (printed += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (complaints += text));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) resolve(printed);
      else reject(new Error(`${file} ${args.join(" ")} ended with ${code ?? signal}\n${printed}${complaints}`));
    });
  });
}
