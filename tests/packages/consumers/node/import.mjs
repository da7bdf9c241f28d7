import * as tidewire from "tidewire";
import { WebSocket } from "ws";
import { play } from "../play.js";

const [server, channel, transport] = process.argv.slice(2);
console.log(JSON.stringify(await play(tidewire, { server, channel, transport, WebSocket })));
