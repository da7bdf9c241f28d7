/**
 * tidewire/testing: a real server for a test, in Node.
 *
 * `startServer` runs the program `tidewire-server` on a free loopback port, with the memory broker. It
 * ends with the test, and with the process that runs the test, however that dies.
 */

/// <reference lib="esnext.disposable" preserve="true" />

import type { Names } from "./checks.js";
import { checkOptions } from "./checks.js";
import { findProgram } from "./testing-program.js";
import { Faults } from "./testing-faults.js";
import { ServerProcess } from "./testing-process.js";

export type {
  Effect,
  EffectKind,
  Fault,
  Faults,
  FrameKind,
  Plan,
  Replay,
  Rule,
  Strike,
  Tally,
  TimedAction,
} from "./testing-faults.js";

/** How a server for a test is started. */
export interface ServerOptions {
  /** Where the program is. Default: `TIDEWIRE_SERVER` of the environment, then `tidewire-server` on the `PATH`. */
  readonly program?: string | undefined;
  /** A TOML file with namespaces and settings. Default: one namespace `"*"`, which takes any channel. */
  readonly config?: string | undefined;
  /** How long it may take until it listens, in ms. Default 10,000. */
  readonly startMs?: number | undefined;
}

const OPTIONS: Names<ServerOptions> = { program: 1, config: 1, startMs: 1 };

/**
 * Starts a server.
 *
 * ```ts
 * await using server = await startServer();
 * const client = createClient({ url: server.url, token: server.token("ana"), WebSocket });
 * ```
 *
 * Errors: `server_missing`, when there is no such program; `server_failed`, with what it wrote to standard
 * error, when it ends or does not listen in time; `invalid`, for an option that does not exist.
 */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  checkOptions("startServer", options, OPTIONS);
  const process = new ServerProcess(findProgram(options.program), options.config, options.startMs ?? 10_000);
  const server = new TestServer(process);
  await process.start();
  await server.faults.clear();
  return server;
}

/** A running server. Made by `startServer`. */
export class TestServer implements AsyncDisposable {
  readonly #process: ServerProcess;

  /** What goes wrong on purpose; nothing until you ask for it. */
  readonly faults: Faults;

  /** @internal Use `startServer`. */
  constructor(process: ServerProcess) {
    this.#process = process;
    this.faults = new Faults(() => process.admin);
  }

  /** Where it listens, as `http://127.0.0.1:PORT`; the same for its whole life. */
  get url(): string {
    return this.#process.url;
  }

  /** The newest 64 KiB of what it wrote to standard error. */
  get log(): string {
    return this.#process.log;
  }

  /** A token for a principal of that name. */
  token(name: string): string {
    return `dev:${name}`;
  }

  /**
   * Kills it and starts it again at the same address, with nothing in it and without faults: clients hear
   * `history_lost`, and what they had committed ends as `lost`. An outage that loses nothing is
   * `faults.offline`.
   */
  async loseHistory(): Promise<void> {
    await this.#process.kill();
    await this.#process.start();
    await this.faults.clear();
  }

  /** Ends it; resolves once the process is gone. */
  async stop(): Promise<void> {
    await this.#process.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
