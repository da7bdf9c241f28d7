/** What a `FrameTap` sees of requests: SSE and long-poll, whose messages are in bodies. */

import type { Tapped } from "./debug.js";

/** Where what is seen goes, and under which number. */
export interface Sight {
  isWatched(): boolean;
  tell(tapped: Tapped): void;
  /** The number of a link that begins. */
  next(): number;
}

/** A `fetch` that shows the messages in bodies. A stream is a link, and so are polls of which one follows the other. */
export function tapFetch({ isWatched, tell, next }: Sight): typeof fetch {
  let newest = 0;
  let polls: number | undefined;
  const message = (socket: number, direction: "up" | "down", bytes: Uint8Array): void => {
    if (isWatched() && bytes.length > 0) tell({ type: "message", at: Date.now(), socket, direction, bytes });
  };
  const opened = (socket: number, transport: "sse" | "long-poll"): void => tell({ type: "open", at: Date.now(), socket, transport });
  // Requests have no code that says how they ended.
  const closed = (socket: number, clean: boolean): void => tell({ type: "close", at: Date.now(), socket, code: 0, clean });

  const stream = async (asked: Promise<Response>, socket: number): Promise<Response> => {
    const response = await asked;
    if (response.status !== 200 || !response.body) return response;
    opened(socket, "sse");
    const events = readEvents((bytes) => message(socket, "down", bytes));
    const seen = lookedAt(response.body, events, (clean) => closed(socket, clean));
    return new Response(seen, response);
  };
  const poll = async (asked: Promise<Response>, socket: number, isFirst: boolean): Promise<Response> => {
    const ends = (): void => {
      if (polls === socket) polls = undefined;
      if (!isFirst) closed(socket, false);
    };
    let response: Response;
    try {
      response = await asked;
    } catch (thrown) {
      ends();
      throw thrown;
    }
    if (response.status !== 200) {
      ends();
      return response;
    }
    if (isFirst) opened(socket, "long-poll");
    return answer(response, socket);
  };
  const answer = async (response: Response, socket: number): Promise<Response> => {
    if (response.status === 200) message(socket, "down", new Uint8Array(await response.clone().arrayBuffer()));
    return response;
  };

  return (input, init) => {
    const asked = fetch(input, init);
    const door = /\/v1\/(sse|poll|push)$/.exec(String(input))?.[1];
    if (!door) return asked;
    const isFirst = door === "sse" || (door === "poll" && polls === undefined);
    if (isFirst) newest = next();
    const socket = newest;
    if (door === "poll") polls ??= socket;
    const body: unknown = init?.body;
    if (body instanceof Uint8Array) message(socket, "up", body.slice());
    if (door === "sse") return stream(asked, socket);
    if (door === "poll") return poll(asked, socket, isFirst);
    return asked.then((response) => answer(response, socket));
  };
}

/** A body as it is, whose reader does not notice that somebody looks. */
function lookedAt(
  body: ReadableStream<Uint8Array>,
  look: (chunk: Uint8Array) => void,
  ended: (clean: boolean) => void,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          ended(true);
          controller.close();
          return;
        }
        look(value);
        controller.enqueue(value);
      } catch (thrown) {
        ended(false);
        throw thrown;
      }
    },
    cancel(reason) {
      ended(false);
      return reader.cancel(reason);
    },
  });
}

/** Takes a stream in pieces and hands out the bytes of each event: base64 in one line of data. */
function readEvents(take: (bytes: Uint8Array) => void): (chunk: Uint8Array) => void {
  const decoder = new TextDecoder();
  let rest = "";
  return (chunk) => {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() as string;
    for (const line of lines) {
      const data = /^data: ?(\S+)/.exec(line)?.[1];
      if (data) take(Uint8Array.from(atob(data), (char) => char.charCodeAt(0)));
    }
  };
}
