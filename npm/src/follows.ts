/** What the core is asked to tell of. A record that was read it tells of by itself, once. */

/** Asks for the next change of a record, or for all of a collection or of the channel. */
type Ask = (collection?: string, id?: string) => void;

export class Follows {
  /** While the channel is open in the core. */
  #ask: Ask | undefined;
  #everything = false;
  #collections = new Set<string>();

  /** The channel was opened in the core. */
  begin(ask: Ask): void {
    this.#ask = ask;
    this.#everything = false;
    this.#collections.clear();
  }

  end(): void {
    this.#ask = undefined;
  }

  everything(): void {
    if (!this.#ask || this.#everything) return;
    this.#everything = true;
    this.#ask();
  }

  /** With an id the next change of a record, which has to be followed again after it. */
  add(collection: string, id?: string): void {
    if (!this.#ask || this.#everything || this.#collections.has(collection)) return;
    if (id === undefined) this.#collections.add(collection);
    this.#ask(collection, id);
  }
}
