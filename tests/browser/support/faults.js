// The fault panel as its visitor uses it.

import { PATIENCE_MS, until } from "./wait.js";

export class FaultPanel {
  #board;

  constructor(board) {
    this.#board = board;
  }

  get #panel() {
    return this.#board.page.getByTestId("fault-panel");
  }

  async ready() {
    await this.#panel.waitFor();
  }

  box() {
    return this.#panel.boundingBox();
  }

  /** From now on buttons are about everybody's links. */
  async everyone() {
    await this.#panel.getByText("Everyone", { exact: true }).click();
  }

  async press(name) {
    await this.#panel.getByTestId(`fault-${name}`).click();
  }

  async turn(knob, on) {
    await this.press(knob);
    await this.on(knob, on);
  }

  /** The server says that a knob is on. */
  async on(knob, on = true) {
    await this.#panel.locator(`[data-testid="fault-${knob}"][aria-pressed="${on}"]`).waitFor();
  }

  async told(text) {
    await this.#panel.getByTestId("fault-told").getByText(text).waitFor();
  }

  /** The timeline has a frame or event of a kind. */
  async row(kind, { note, patience = PATIENCE_MS } = {}) {
    const rows = this.#panel.locator(`[data-testid="timeline"] [data-kind="${kind}"]`);
    const found = note === undefined ? rows : rows.filter({ hasText: note });
    await found.first().waitFor({ state: "attached", timeout: patience });
  }

  /** The timeline has a frame that the server struck on purpose. */
  async struck(effect, frame) {
    const rows = this.#panel.locator(`[data-testid="timeline"] [data-what="fault"][data-kind="${effect}"]`);
    await rows.filter({ hasText: frame }).first().waitFor({ state: "attached" });
  }

  /** What the frames prove, once it is what is waited for. */
  async proofs(holds) {
    return until("the frames to prove it", async () => {
      const shown = await this.#panel.getByTestId("proofs").evaluate((element) => ({ ...element.dataset }));
      const sums = Object.fromEntries(Object.entries(shown).map(([name, value]) => [name, Number(value)]));
      return holds(sums) && sums;
    });
  }
}
