// A network that changes all the time: now it lets WebSockets through, now streams, now neither. Pages load as ever.

import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";

/** How long it stays as it is: long enough to be connected, and to do something. */
const STAYS_MS = [300, 1700];

/** Each network its own, and the same ones in each run. */
let seeds = 0;

export class Restless {
  url;
  #far;
  #server;
  #random = numbers((seeds += 1));
  #passes = {};
  /** What the next change cuts, each by its function. */
  #open = new Set();
  #timer;

  static async before(url) {
    const network = new Restless();
    const { hostname, port } = new URL(url);
    network.#far = { host: hostname, port: Number(port) };
    network.#server = createServer((near, answer) => network.#request(near, answer));
    network.#server.on("upgrade", (near, socket, head) => network.#upgrade(near, socket, head));
    network.#server.listen(0, "127.0.0.1");
    await once(network.#server, "listening");
    network.url = `http://127.0.0.1:${network.#server.address().port}`;
    network.#change();
    return network;
  }

  #change() {
    this.#passes = { websocket: this.#random() < 0.5, sse: this.#random() < 0.5 };
    for (const cut of this.#open) cut();
    this.#open.clear();
    const [least, most] = STAYS_MS;
    this.#timer = setTimeout(() => this.#change(), least + this.#random() * (most - least));
  }

  #until(ends, cut) {
    this.#open.add(cut);
    ends.once("close", () => this.#open.delete(cut));
  }

  #request(near, answer) {
    if (near.url.startsWith("/v1/sse") && !this.#passes.sse) {
      answer.writeHead(403).end();
      return;
    }
    const { method, headers, url: path } = near;
    const far = request({ ...this.#far, path, method, headers, agent: false }, (response) => {
      answer.writeHead(response.statusCode, response.headers).flushHeaders();
      response.on("error", () => answer.destroy());
      response.pipe(answer);
    });
    far.on("error", () => answer.destroy());
    near.pipe(far);
    answer.on("close", () => far.destroy());
    if (path.startsWith("/v1/")) this.#until(answer, () => answer.destroy());
  }

  #upgrade(near, socket, head) {
    socket.on("error", () => {});
    if (!this.#passes.websocket) {
      socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
      return;
    }
    const far = connect(this.#far.port, this.#far.host);
    far.on("error", () => socket.destroy());
    const lines = near.rawHeaders.flatMap((name, at, all) => (at % 2 ? [] : `${name}: ${all[at + 1]}`));
    far.write(`GET ${near.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    far.pipe(socket).pipe(far);
    socket.on("close", () => far.destroy());
    far.on("close", () => socket.destroy());
    this.#until(socket, () => socket.destroy());
  }

  async stop() {
    clearTimeout(this.#timer);
    this.#server.closeAllConnections();
    for (const cut of this.#open) cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Numbers in 0..1 from a seed: xorshift. */
function numbers(seed) {
  let state = seed * 0x9e3779b1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
