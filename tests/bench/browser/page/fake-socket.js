// A WebSocket that is connected to a list of messages: what is measured starts behind the platform's own socket.

export function fakeSocket({ welcome, snapshot }) {
  return class FakeSocket {
    /** The present one. */
    static open;

    constructor() {
      FakeSocket.open = this;
      this.words = 0;
      queueMicrotask(() => this.onopen?.({}));
    }

    /** As the server does: welcome after the first word, the snapshot after the second. */
    send() {
      this.words += 1;
      const answer = this.words === 1 ? [welcome] : this.words === 2 ? snapshot : [];
      for (const message of answer) queueMicrotask(() => this.receive(message));
    }

    receive(data) {
      this.onmessage?.({ data });
    }

    close() {}
  };
}
