// A proxy for plain requests that breaks what a test tells it to.

import { once } from "node:events";
import http from "node:http";

export class Proxy {
  url;
  /** What was asked for, and how that was answered: { door, body, status }. */
  requests = [];
  /** Each POST reaches the server once more, behind the one that follows it. */
  copies = false;
  #late = null;
  /** The client does not learn that a stream ended. */
  hidesEnds = false;
  #target;
  #breaks = new Set();
  #agent = new http.Agent({ keepAlive: true });

  /** Ends with the test. */
  static async start(test, target) {
    const proxy = new Proxy();
    proxy.#target = target;
    const server = http.createServer((request, response) => void proxy.#serve(request, response));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    proxy.url = `http://127.0.0.1:${server.address().port}`;
    test.after(() => {
      server.close();
      server.closeAllConnections();
      proxy.#agent.destroy();
    });
    return proxy;
  }

  /** The next answer of this door, or the next piece of its stream, ends in its middle. */
  breakNext(door) {
    this.#breaks.add(door);
  }

  async #serve(request, response) {
    const door = request.url;
    const body = Buffer.concat(await request.toArray());
    const asked = { door, body };
    this.requests.push(asked);
    try {
      const answer = await this.#ask(request, body, response);
      response.writeHead(answer.statusCode, answer.headers);
      for await (const piece of answer) {
        if (!this.#breaks.delete(door)) response.write(piece);
        else return void response.write(piece.subarray(0, piece.length / 2), () => response.destroy());
      }
      asked.status = answer.statusCode;
      if (door === "/v1/push" && this.copies) await this.#repeat(() => this.#ask(request, body));
    } catch {
      if (!this.hidesEnds) response.destroy();
    }
    if (!(this.hidesEnds && door === "/v1/sse")) response.end();
  }

  async #repeat(copy) {
    (await this.#late?.())?.resume();
    this.#late = copy;
  }

  async #ask({ url, method, headers }, body, response) {
    const request = http.request(this.#target + url, { method, headers, agent: this.#agent });
    response?.on("close", () => response.writableFinished || request.destroy());
    request.end(body);
    const [answer] = await once(request, "response");
    return answer;
  }
}
