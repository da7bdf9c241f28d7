// By itself, because it lasts as long as the server's heartbeat and the other tests need not wait.

import assert from "node:assert/strict";
import { test } from "node:test";
import { put } from "./changes.js";
import { Server, nextFrame, until } from "./support.js";

test("ping is answered; a heartbeat names the heads of channels that moved", async (t) => {
  const server = await Server.start(t);
  const [client, ana] = await server.join("dev:ana");
  const pong = nextFrame(client, "pong");
  client.send({ ping: { t: 7 } });
  assert.equal((await pong).t, 7);

  await ana.mutate(put("cards", "c1", { votes: 1 })).outcome;
  const interval = client.welcome.heartbeatMs;
  let heartbeat;
  client.on("frame", (kind, frame) => (heartbeat ??= kind === "heartbeat" && frame));
  await until("a heartbeat", () => heartbeat, 2 * interval);
  assert.ok(heartbeat.serverMs >= client.welcome.serverMs);
  assert.deepEqual(heartbeat.heads, [{ channel: ana.name, cursor: ana.cursor }]);
  assert.ok(client.online);
});
