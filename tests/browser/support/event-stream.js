// Streams of server-sent events: captured from a server, and replayed to a page's EventSource.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { createInterface } from "node:readline";
import { tidewireServer } from "./paths.js";
import { until } from "./wait.js";

/** A server for one test, with development tokens. */
export class PlainServer {
  url;
  #process;

  static async start() {
    const server = new PlainServer();
    server.#process = spawn(tidewireServer(), ["--dev-auth", "--listen", "127.0.0.1:0"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: server.#process.stdout });
    const [line] = await once(lines, "line");
    server.url = line.replace(/^listening /, "");
    return server;
  }

  async stop() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }
}

/** One POST, whose response is collected while it comes. */
export class Captured {
  #chunks = [];
  #request;
  headers;

  static async post(url, kind, body) {
    const captured = new Captured();
    captured.#request = request(url, { method: "POST", headers: { "content-type": kind } });
    captured.#request.on("error", () => {});
    captured.#request.end(body);
    const [response] = await once(captured.#request, "response");
    if (response.statusCode !== 200) throw new Error(`${url} answered ${response.statusCode}`);
    captured.headers = response.headers;
    response.on("data", (chunk) => captured.#chunks.push(chunk));
    response.on("error", () => {});
    return captured;
  }

  get bytes() {
    return Buffer.concat(this.#chunks);
  }

  /** Waits until what has come so far is enough. */
  async until(what, enough) {
    return until(what, () => enough(this.bytes));
  }

  end() {
    this.#request.destroy();
  }
}

/** Serves an empty page, and streams in the pieces that are asked for. */
export class Replay {
  url;
  #server;
  #streams = [];

  static async start() {
    const replay = new Replay();
    replay.#server = createServer((request, response) => {
      const number = /^\/stream\/(\d+)$/.exec(request.url)?.[1];
      if (number === undefined) {
        response.setHeader("content-type", "text/html").end("<!doctype html><title>replay</title>");
        return;
      }
      response.setHeader("content-type", "text/event-stream");
      response.flushHeaders();
      for (const piece of replay.#streams[number]) response.write(piece);
      response.end();
    });
    replay.#server.listen(0, "127.0.0.1");
    await once(replay.#server, "listening");
    replay.url = `http://127.0.0.1:${replay.#server.address().port}`;
    return replay;
  }

  /**
   * What an EventSource on `page` makes of each stream: type, data and last id of its events, until it ends. A stream is
   * the pieces that it comes in.
   */
  async read(page, streams, types) {
    const urls = streams.map((pieces) => `/stream/${this.#streams.push(pieces) - 1}`);
    return page.evaluate(
      async ([urls, types]) => {
        const read = (url) =>
          new Promise((resolve) => {
            const events = [];
            const source = new EventSource(url);
            for (const type of types) {
              source.addEventListener(type, (event) => events.push([event.type, event.data, event.lastEventId]));
            }
            source.onerror = () => {
              source.close();
              resolve(events);
            };
          });
        const found = [];
        // A browser has six connections to a host.
        for (let at = 0; at < urls.length; at += 6) found.push(...(await Promise.all(urls.slice(at, at + 6).map(read))));
        return found;
      },
      [urls, types],
    );
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** A stream whole, and in pieces of so many bytes. */
export function cuts(bytes, sizes) {
  const all = sizes.map((size) =>
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, (at + 1) * size)),
  );
  return [[bytes], ...all];
}
