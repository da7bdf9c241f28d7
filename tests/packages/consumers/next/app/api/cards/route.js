// The package in Next's server: it joins as any other program does.
import * as tidewire from "tidewire";
import { WebSocket } from "ws";
import { play } from "../../../../play.js";

export async function GET(request) {
  const { server, channel } = Object.fromEntries(request.nextUrl.searchParams);
  return Response.json(await play(tidewire, { server, channel, WebSocket }));
}
