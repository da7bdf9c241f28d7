// The board's server as a process, with a data directory of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { boardPage, boardServer } from "./paths.js";
import { PATIENCE_MS } from "./wait.js";

export class BoardServer {
  /** Where it listens, the same after a restart. */
  url;
  #dir;
  #page;
  #port = 0;
  #process;
  #log = "";

  static async start({ page = boardPage() } = {}) {
    const server = new BoardServer();
    server.#page = page;
    server.#dir = await mkdtemp(join(tmpdir(), "tidewire-board-"));
    await server.run();
    return server;
  }

  /** Starts the process on the port that it had before, if any. */
  async run() {
    const args = ["--port", String(this.#port), "--data-dir", join(this.#dir, "data"), "--page", this.#page];
    const child = spawn(boardServer(), args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    child.stderr.setEncoding("utf8").on("data", (text) => (this.#log += text));
    this.url = await this.#address(child);
    this.#port = Number(new URL(this.url).port);
  }

  #address(child) {
    return new Promise((resolve, reject) => {
      const giveUp = (why) => reject(new Error(`the board's server ${why}\n${this.#log}`));
      const timer = setTimeout(() => giveUp("did not say where it listens"), PATIENCE_MS);
      child.once("error", (error) => giveUp(`did not start: ${error.message}`));
      child.once("exit", (code) => giveUp(`ended with ${code}`));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const found = /^listening (http:\/\/\S+)$/.exec(line);
        if (!found) return;
        clearTimeout(timer);
        resolve(found[1]);
      });
    });
  }

  /** What it wrote to standard error. */
  get log() {
    return this.#log;
  }

  /** As a power cut would: no drain, no goodbye. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** Politely. Returns the exit code. */
  async drain() {
    return this.#end("SIGTERM");
  }

  /** The process must be down. */
  async wipeDisk() {
    await rm(join(this.#dir, "data"), { recursive: true });
  }

  async stop() {
    await this.#end("SIGKILL");
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #end(signal) {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    child.kill(signal);
    const [code] = await once(child, "exit");
    return code;
  }
}
