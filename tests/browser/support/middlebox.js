// A box of tests/middleboxes before a server, and a page of another origin that connects through it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { createInterface } from "node:readline";
import { middlebox, packageDist } from "./paths.js";

const KINDS = { ".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html" };

/** Serves the package, and an empty page that has it as `tidewire`. */
export class PageServer {
  url;
  #server;

  static async start() {
    const pages = new PageServer();
    const dist = packageDist();
    pages.#server = createServer(async (request, response) => {
      const path = normalize(new URL(request.url, "http://localhost").pathname);
      try {
        const body =
          path === "/"
            ? `<!doctype html><link rel="icon" href="data:,"><script type="module">
                 import * as tidewire from "/index.js"; window.tidewire = tidewire;
               </script>`
            : await readFile(join(dist, path));
        response.writeHead(200, { "content-type": KINDS[extname(path) || ".html"] ?? "text/plain" }).end(body);
      } catch {
        response.writeHead(404).end();
      }
    });
    pages.#server.listen(0, "127.0.0.1");
    await once(pages.#server, "listening");
    pages.url = `http://127.0.0.1:${pages.#server.address().port}`;
    return pages;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** The box of a row, by its name in docs/transports.md. */
export class Middlebox {
  /** Where clients connect. */
  url;
  /** Which transport they end up on; `null`: none. */
  first;
  #process;

  static async start(row, origin) {
    const box = new Middlebox();
    box.#process = spawn(middlebox(), [row, origin], { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: box.#process.stdout });
    const ended = once(box.#process, "exit").then(([code]) => {
      throw new Error(`the box ended with ${code}`);
    });
    const [line] = await Promise.race([once(lines, "line"), ended]);
    ended.catch(() => {});
    Object.assign(box, JSON.parse(line));
    return box;
  }

  async stop() {
    if (this.#process.exitCode !== null) return;
    this.#process.stdin.end();
    await once(this.#process, "exit");
  }
}
