import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { describe, expect, it } from "vitest";

// Runs in a process of its own, where every global that could do something throws when it is touched.
const program = `
  const entry = process.argv[1];
  const react = await import("react");
  await import("react-dom/server");
  const touched = [];
  const watched = [
    "WebSocket", "fetch", "crypto", "performance", "setTimeout", "setInterval", "setImmediate", "queueMicrotask",
    "document", "window", "navigator", "location", "localStorage", "addEventListener", "WebAssembly", "process",
  ];
  const before = Object.fromEntries(watched.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  for (const name of watched) {
    Object.defineProperty(globalThis, name, { configurable: true, get() { touched.push(name); return undefined; } });
  }
  const globals = Object.keys(globalThis).length;
  const { createClient } = await import(entry + "index.js");
  await import(entry + "inline.js");
  const hooks = await import(entry + "react.js");
  await import(entry + "debug.js");
  const client = createClient({ url: "https://tide.test", token: () => { touched.push("token"); return ""; } });
  const board = client.channel("board:main");
  board.get("cards", "a");
  board.ids("cards");
  board.select("cards", { filter: () => true });
  board.pending("cards", "a");
  if (board.presence.peers.length !== 0 || client.connection.state !== "idle") touched.push("state");
  const added = Object.keys(globalThis).length - globals;
  for (const name of watched) {
    if (before[name]) Object.defineProperty(globalThis, name, before[name]);
    else delete globalThis[name];
  }
  const resources = process.getActiveResourcesInfo().filter((name) => /Timeout|Immediate|TCP|HTTP|Worker/.test(name));
  console.log(JSON.stringify({ touched, added, resources, hooks: Object.keys(hooks).sort() }));
`;

describe("importing", () => {
  it("touches nothing, and neither do createClient, channel and reading", async () => {
    const dist = new URL("../dist/", import.meta.url).href;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, dist], {
      cwd: new URL("..", import.meta.url),
    });
    expect(JSON.parse(stdout)).toEqual({
      touched: [],
      added: 0,
      resources: [],
      hooks: [
        "TidewireProvider",
        "useChannel",
        "useChannelStatus",
        "useClient",
        "useCollection",
        "useConnection",
        "useMutation",
        "usePending",
        "usePresence",
        "useReady",
        "useRecord",
      ],
    });
  });

  it("works by the package's own name, as its exports say", async () => {
    // Not read from this file's folder: resolved as a dependant would.
    const code = `
      import { createClient, TidewireError } from "tidewire";
      import { useChannel } from "tidewire/react";
      import { startServer } from "tidewire/testing";
      import { FrameTap } from "tidewire/debug";
      const found = ["tidewire/tidewire.wasm", "tidewire/proto/tidewire.proto", "tidewire/package.json"].map((name) => import.meta.resolve(name));
      console.log(JSON.stringify([typeof createClient, typeof TidewireError, typeof useChannel, typeof startServer, typeof FrameTap, found.map((url) => url.split("/").at(-1))]));
    `;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", code], {
      cwd: new URL("..", import.meta.url),
    });
    expect(JSON.parse(stdout)).toEqual([
      "function",
      "function",
      "function",
      "function",
      "function",
      ["tidewire_bg.wasm", "tidewire.proto", "package.json"],
    ]);
  });
});
