// A TCP forwarder that holds every byte back for a while, each way and in order: a far-away server.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class SlowLink {
  url;
  #server;
  #sockets = new Set();

  static async to(url, delayMs) {
    const link = new SlowLink();
    const { hostname, port } = new URL(url);
    link.#server = createServer((near) => {
      const far = connect(Number(port), hostname);
      link.#carry(near, far, delayMs);
      link.#carry(far, near, delayMs);
    });
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    link.url = `http://127.0.0.1:${link.#server.address().port}`;
    return link;
  }

  #carry(from, to, delayMs) {
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on("data", (bytes) => setTimeout(() => to.writable && to.write(bytes), delayMs));
    from.on("end", () => setTimeout(() => to.end(), delayMs));
    from.on("error", () => to.destroy());
    from.on("close", () => this.#sockets.delete(from));
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
