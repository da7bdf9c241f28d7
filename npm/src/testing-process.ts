/** One process of `tidewire-server`: started, listened to, killed. */

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { TidewireError } from "./errors.js";

/** How much of the log is kept; what is older goes. */
const LOG_CHARS_MAX = 65_536;

/** A program of its own holds the server, so that it ends even when this process is killed. */
const KEEPER = fileURLToPath(new URL("./testing-keeper.js", import.meta.url));

export class ServerProcess {
  url = "";
  admin = "";
  log = "";
  readonly #program: string;
  readonly #config: string | undefined;
  readonly #startMs: number;
  #keeper: ChildProcess | undefined;

  constructor(program: string, config: string | undefined, startMs: number) {
    this.#program = program;
    this.#config = config;
    this.#startMs = startMs;
  }

  /** Resolves once it listens; again at the address that it had before. Errors: `server_failed`. */
  async start(): Promise<void> {
    const listen = this.url ? new URL(this.url).host : "127.0.0.1:0";
    const args = ["--dev-auth", "--broker", "memory", "--listen", listen, "--admin", "127.0.0.1:0"];
    if (this.#config !== undefined) args.push("--config", this.#config);
    const keeper = spawn(process.execPath, [KEEPER, this.#program, ...args], {
      stdio: ["pipe", "pipe", "pipe"],
      env: environment(),
    });
    this.#keeper = keeper;
    keeper.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.log = (this.log + text).slice(-LOG_CHARS_MAX);
    });
    try {
      await this.#announced(keeper);
    } catch (error) {
      await this.kill();
      throw error;
    }
    // A server that nobody stopped must not keep the test's process alive.
    keeper.unref();
    for (const pipe of keeper.stdio) (pipe as Socket).unref();
  }

  /** Ends it at once, as a power cut would; resolves when it is gone. */
  async kill(): Promise<void> {
    const keeper = this.#keeper;
    this.#keeper = undefined;
    if (!keeper || keeper.exitCode !== null || keeper.signalCode !== null) return;
    keeper.ref();
    const gone = once(keeper, "exit");
    keeper.stdin?.destroy();
    await gone;
  }

  #announced(keeper: ChildProcess & { stdout: NodeJS.ReadableStream }): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = (why: string): void => {
        clearTimeout(timer);
        reject(new TidewireError("server_failed", `${this.#program} ${why}\n${this.log}`.trimEnd()));
      };
      const timer = setTimeout(() => giveUp(`did not listen within ${this.#startMs} ms`), this.#startMs);
      keeper.once("error", (error) => giveUp(`did not start: ${error.message}`));
      // Not `exit`: what it wrote has then arrived too.
      keeper.once("close", (code) => giveUp(`ended with ${code}`));
      createInterface({ input: keeper.stdout }).on("line", (line) => {
        const [door, address = ""] = line.split(" ");
        if (door === "listening") this.url = address;
        if (door !== "admin") return;
        this.admin = address;
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** The server is set up by its flags alone, whatever is set for another one. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEWIRE_")));
}
