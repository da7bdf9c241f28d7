// A link over a WebSocket. All transports offer what this one does:
//
//   send(frame)        says a frame on this link
//   welcomed(welcome)  what the server said of the session; nothing but hello is said before
//   pong(t)            answers a heartbeat, where the transport needs it
//   leave(frames)      the client goes for good; `frames` say so where closing does not
//   close(code)        gives the link up; whoever called knows, and is told nothing more
//   cut()              breaks it without a word, as a network does; `ended` follows
//   copies             whether what was said may arrive more than once
//   pause(), resume()  stops reading: what the server sends meanwhile piles up on its side
//
// and tells its owner: message(bytes), answer(bytes) of a POST, failed(error), ended().

import WebSocket from "ws";

export class WebSocketLink {
  copies = false;
  #socket;
  #codec;
  #closed = false;

  constructor({ url, codec, hello, maxFrame, owner }) {
    this.#codec = codec;
    const address = `${url.replace(/^http/, "ws")}/v1/ws`;
    const socket = (this.#socket = new WebSocket(address, codec.subprotocol, { maxPayload: maxFrame, perMessageDeflate: false }));
    const tell = (what) => (...args) => this.#closed || what(...args);
    socket.on("open", tell(() => this.send({ hello: hello() })));
    socket.on("message", tell((bytes) => owner.message(bytes)));
    socket.on("close", tell(() => owner.ended()));
    socket.on("error", () => {}); // `close` follows
  }

  send(frame) {
    this.#socket.send(this.#codec.encode(frame));
  }

  welcomed() {}

  pong(t) {
    this.send({ pong: { t } });
  }

  leave() {
    this.close(1000);
  }

  close(code) {
    this.#closed = true;
    this.#socket.close(code);
  }

  cut() {
    this.#socket.terminate();
  }

  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }
}
