// The native client: `quickstart-native` with its prompt, as somebody at a terminal uses it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { nativeClient } from "./paths.js";
import { until } from "./wait.js";

export class NativeEditor {
  #child;
  #output = "";

  constructor(url, name) {
    this.#child = spawn(nativeClient(), ["--url", url, "--name", name], { stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.#output += text));
    }
  }

  /** One line at the prompt. */
  type(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Waits until the terminal shows a text. */
  async shows(text) {
    await until(`the terminal to show ${text}`, () => this.#output.includes(text)).catch((error) => {
      throw new Error(`${error.message}\nthe terminal shows:\n${this.#output}`);
    });
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}
