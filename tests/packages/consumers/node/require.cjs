const { WebSocket } = require("ws");
const tidewire = require("tidewire");
const adapters = [require("tidewire/react"), require("tidewire/zustand"), require("tidewire/inline")];
const { play } = require("../play.js");

const [server, channel, transport] = process.argv.slice(2);
play(tidewire, { server, channel, transport, WebSocket }).then((report) => {
  // Required and imported, it is one module.
  import("tidewire").then((imported) => {
    report.shared &&= imported.createClient === tidewire.createClient && adapters[2].TidewireError === tidewire.TidewireError;
    console.log(JSON.stringify(report));
  });
});
