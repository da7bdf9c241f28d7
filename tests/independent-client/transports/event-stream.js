// Reads server-sent events, as the HTML standard has them: lines end with CR, LF or both, a line that begins with a
// colon is a comment, `data` lines are joined by LF, and an empty line ends the event.

export class EventStream {
  #text = new TextDecoder();
  #rest = "";
  #afterCr = false;
  #type = "";
  #data = [];
  #size = 0;
  #emit;
  #limit;

  /** `emit(type, data)` for each event; one of more than `limit` characters is refused. */
  constructor(emit, limit = Infinity) {
    this.#emit = emit;
    this.#limit = limit;
  }

  take(chunk) {
    let text = this.#text.decode(chunk, { stream: true });
    // The LF of a CR LF may come with the next chunk.
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    if (text) this.#afterCr = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
    if (this.#size + this.#rest.length > this.#limit) throw new Error("an event that is too large");
  }

  #line(line) {
    if (line === "") return this.#end();
    const [, name, value] = /^([^:]*)(?:: ?)?([^]*)$/.exec(line);
    if (name === "event") this.#type = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#size += value.length + 1;
    }
  }

  #end() {
    const [type, data] = [this.#type, this.#data];
    this.#type = "";
    this.#data = [];
    this.#size = 0;
    if (data.length) this.#emit(type, data.join("\n"));
  }
}
