import * as tidewire from "tidewire";
import { play } from "../play.js";

export default {
  async fetch(request) {
    const { searchParams } = new URL(request.url);
    return Response.json(await play(tidewire, Object.fromEntries(searchParams)));
  },
};
