// A real server, and the other side of every consumer: whoever made the record that it must see, and looks for
// the one that it makes.

import { createClient } from "tidewire";
import { WebSocket } from "ws";
import assert from "node:assert/strict";
import { Child } from "./child.js";
import { serverProgram } from "./paths.js";

/** What every consumer's channel holds before it comes. */
const SEED = "written by the test";

export class Stage {
  url;
  #server;
  #client;

  static async open() {
    const stage = new Stage();
    stage.#server = new Child(serverProgram(), ["--dev-auth", "--listen", "127.0.0.1:0"]);
    stage.url = await stage.#server.line(/^listening (http:\/\/\S+)$/);
    stage.#client = createClient({ url: stage.url, token: "dev:test", WebSocket });
    return stage;
  }

  /** A channel with a card in it, for one consumer. */
  async channel(name) {
    const channel = this.#client.channel(`board:${name}`);
    await channel.put("cards", "seed", { title: SEED }).committed;
    return channel;
  }

  /** What a consumer that says `report` has done: `consumers/play.js` says what. */
  check(channel, { over, ...report }, transport) {
    assert.deepEqual(report, { seen: SEED, status: "committed", shared: true });
    if (transport) assert.equal(over, transport);
    assert.equal(channel.get("cards", "made")?.title, "made by the consumer");
  }

  async close() {
    this.#client?.close();
    await this.#server.stop();
  }
}
