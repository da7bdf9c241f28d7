import * as tidewire from "tidewire";
import { play } from "../play.js";

const [server, channel, transport] = Bun.argv.slice(2);
console.log(JSON.stringify(await play(tidewire, { server, channel, transport })));
