import * as tidewire from "tidewire";
import { play } from "../play.js";

const [server, channel, transport] = Deno.args;
console.log(JSON.stringify(await play(tidewire, { server, channel, transport })));
