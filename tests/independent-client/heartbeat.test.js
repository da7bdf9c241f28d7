// Signs of life, over each transport. The server's heartbeat is short here, so that one who is taken for dead shows.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { put } from "./changes.js";
import { json, proto } from "./codec.js";
import { Server, nextFrame, transports, until } from "./support.js";

describe("signs of life", { concurrency: true }, () => {
  for (const [name, transport, codec] of Object.entries(transports).flatMap((entry) => [proto, json].map((codec) => [...entry, codec]))) {
    test(`${name}, ${codec.name}: ping is answered; heartbeats name the heads of channels that moved; who is quiet stays`, async (t) => {
      const server = await Server.start(t, { TIMEOUTS_HEARTBEAT_S: 1 });
      const [client, ana] = await server.join("dev:ana", { transport, codec });
      let links = 1;
      client.on("linked", () => (links += 1));
      const pong = nextFrame(client, "pong");
      client.send({ ping: { t: 7 } });
      assert.equal((await pong).t, 7);

      await ana.mutate(put("cards", "c1", { votes: 1 })).outcome;
      const heartbeats = [];
      client.on("frame", (kind, frame) => kind === "heartbeat" && heartbeats.push(frame));
      // After three without a sign of life the server would have ended the link.
      await until("heartbeats", () => heartbeats.length >= 5);
      for (const { serverMs } of heartbeats) assert.ok(serverMs >= client.welcome.serverMs);
      assert.deepEqual(heartbeats[0].heads, [{ channel: ana.name, cursor: ana.cursor }]);
      assert.equal(links, 1);
    });
  }
});
