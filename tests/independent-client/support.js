// The real server as a process with a data directory of its own, and waiting for conditions.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Client } from "./client.js";
import * as codecs from "./codec.js";
import { LongPollLink } from "./transports/long-poll.js";
import { SseLink } from "./transports/sse.js";
import { WebSocketLink } from "./transports/websocket.js";

/** The longest that anything here may take on a busy machine. */
export const PATIENCE_MS = 60_000;
const LOOK_MS = 20;
/** What the clients speak, proto or json, and over what. */
export const codec = codecs[process.env.TEST_CODEC ?? "proto"];
export const transports = { "websocket": WebSocketLink, "sse": SseLink, "long-poll": LongPollLink };
const transport = transports[process.env.TEST_TRANSPORT ?? "websocket"];
/** Short, so that a restarted server is found soon. */
const BACKOFF = { base: 100, cap: 400 };

/** Looks until `look` returns something truthy, and returns that. On timeout says what was seen last. */
export async function until(what, look, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  let seen;
  do {
    seen = await look();
    if (seen) return seen;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  } while (Date.now() < deadline);
  throw new Error(`waited ${patience} ms for: ${what}; last seen: ${JSON.stringify(seen)}`);
}

/** The next frame of `kind` that `fits`. Ask before doing what brings it. */
export function nextFrame(client, kind, fits = () => true) {
  return new Promise((resolve, reject) => {
    const giveUp = setTimeout(() => reject(new Error(`waited ${PATIENCE_MS} ms for a ${kind}`)), PATIENCE_MS);
    client.on("frame", function look(found, frame) {
      if (found !== kind || !fits(frame)) return;
      clearTimeout(giveUp);
      client.off("frame", look);
      resolve(frame);
    });
  });
}

let program;

function serverProgram() {
  const { TEST_SERVER_BIN: given, TEST_BIN_DIR: dir, CARGO_TARGET_DIR } = process.env;
  program ??= given ?? (dir && join(dir, "tidewire-server"));
  if (!program) {
    const root = fileURLToPath(new URL("../../", import.meta.url));
    execFileSync("cargo", ["build", "--locked", "-p", "tidewire-server"], { cwd: root, stdio: "inherit" });
    program = join(CARGO_TARGET_DIR ?? join(root, "target"), "debug/tidewire-server");
  }
  if (!existsSync(program)) throw new Error(`there is no ${program}: run cargo build -p tidewire-server`);
  return program;
}

export class Server {
  url;
  #dir;
  #process;
  #clients = [];
  #log = "";
  #settings;

  /** Ends with the test. `settings` are in capitals, as in TIDEWIRE_LOG. */
  static async start(test, settings = {}) {
    const server = new Server();
    server.#settings = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`TIDEWIRE_${name}`, String(value)]));
    server.#dir = await mkdtemp(join(tmpdir(), "tidewire-independent-"));
    test.after(() => server.#stop());
    await server.run();
    return server;
  }

  /** Starts the process; again at the address that it had before. */
  async run() {
    const listen = this.url ? new URL(this.url).host : "127.0.0.1:0";
    const args = ["--dev-auth", "--listen", listen, "--broker", "disk", "--data-dir", join(this.#dir, "data")];
    const child = spawn(serverProgram(), [...args, "--drain-grace-ms", "3000"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...this.#settings },
    });
    this.#process = child;
    child.stderr.setEncoding("utf8").on("data", (text) => (this.#log += text));
    this.url = await new Promise((resolve, reject) => {
      const giveUp = (why) => reject(new Error(`the server ${why}\n${this.#log}`));
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

  /** A client of this server; closed with it. */
  client(token, { url = this.url, ...options } = {}) {
    const client = new Client(url, token, { backoff: BACKOFF, codec, transport, ...options });
    this.#clients.push(client);
    return client;
  }

  /** A client with one live channel. */
  async join(token, options) {
    const client = this.client(token, options);
    const channel = client.channel("board:main");
    await until(`${token} to be live`, () => channel.state === "live");
    return [client, channel];
  }

  /** As a power cut would: no drain, no goodbye. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** Asks it to drain; returns its exit code once it is gone. */
  async drain() {
    return this.#end("SIGTERM");
  }

  /** The process must be down. */
  async wipe() {
    await rm(join(this.#dir, "data"), { recursive: true });
  }

  async #stop() {
    for (const client of this.#clients) client.close();
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
