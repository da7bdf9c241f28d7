// The panel's state: open or not, which knobs are on, whom they are for, and the timeline.

import { type FrameTap, loadDecoder } from "tidewire/debug";
import { Store } from "../state/store.ts";
import { type Act, fetchNews, type Knob, perform, turn } from "./panel.ts";
import { Timeline } from "./timeline.ts";

const NEWS_MS = 1000;
/** How long a tab is frozen: longer than anybody would take for a hiccup. */
export const FREEZE_MS = 4000;

/** In the address, so that an open panel can be shared and survives a reload. */
const PARAMETER = "faults";

export class Bench {
  readonly open: Store<boolean>;
  readonly timeline: Timeline;
  readonly on = new Store<ReadonlySet<Knob>>(new Set());
  /** `true`: everybody's links, else only this visitor's. */
  readonly everyone = new Store(false);
  readonly frozen = new Store(false);
  /** What was done last, for the eye and for a screen reader. */
  readonly told = new Store("");

  #struck = 0;
  /** When the plan began, by this tab's clock, as far as is known. */
  #began = 0;

  constructor(
    tap: FrameTap,
    readonly channel: string,
    readonly principal: () => string | undefined,
  ) {
    this.timeline = new Timeline(tap, channel);
    this.open = new Store(new URL(location.href).searchParams.has(PARAMETER));
  }

  toggle(): void {
    const open = !this.open.value;
    const address = new URL(location.href);
    if (open) address.searchParams.set(PARAMETER, "");
    else address.searchParams.delete(PARAMETER);
    history.replaceState(history.state, "", address);
    this.open.set(open);
  }

  /** Follows frames and server until the result is called. */
  start(): () => void {
    const stop = this.timeline.start(loadDecoder);
    const timer = setInterval(() => void this.#hear(), NEWS_MS);
    void this.#hear();
    return () => {
      stop();
      clearInterval(timer);
    };
  }

  async turn(knob: Knob, on: boolean): Promise<void> {
    await this.#do(`${NAMES[knob]} ${on ? "on" : "off"}`, turn(knob, on, this.#who()));
  }

  async act(act: "cut" | "half_open" | "reject" | "go_away"): Promise<void> {
    await this.#do(ACTS[act], perform({ act, who: this.#who() }));
  }

  async newEpoch(): Promise<void> {
    this.told.set("Opening a new epoch: the server does so once in 10 seconds");
    await this.#do("A new epoch began", perform({ act: "new_epoch", channel: this.channel }));
  }

  async restart(): Promise<void> {
    const act: Act = { act: "restart" };
    await this.#do("The server restarts from its disk", perform(act));
    this.timeline.say("restart", "the server starts again from its disk");
  }

  async calm(): Promise<void> {
    await this.#do("All faults are off", perform({ act: "calm" }));
    this.#struck = 0;
    await this.#hear();
  }

  /** Stops this tab's only thread, as a busy or sleeping device does. */
  freeze(): void {
    this.frozen.set(true);
    // Two frames, so that the page says so before it can say nothing any more.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        const end = performance.now() + FREEZE_MS;
        while (performance.now() < end) {
          // Nothing else runs meanwhile: that is the point.
        }
        this.frozen.set(false);
        this.told.set("This tab runs again");
        this.timeline.say("freeze", `this tab stood still for ${FREEZE_MS / 1000} s`);
      }),
    );
  }

  #who(): string | null {
    return this.everyone.value ? null : (this.principal() ?? null);
  }

  async #do(told: string, done: Promise<void>): Promise<void> {
    try {
      await done;
      this.told.set(told);
      await this.#hear();
    } catch (error) {
      this.told.set(error instanceof Error ? error.message : String(error));
    }
  }

  async #hear(): Promise<void> {
    try {
      const asked = this.#struck;
      const { on, elapsed_ms, count, struck } = await fetchNews(asked);
      // Another answer was quicker, or the plan is a new one.
      if (asked !== this.#struck) return;
      this.#began = Date.now() - elapsed_ms;
      this.#struck = count;
      if (on.length !== this.on.value.size || on.some((knob) => !this.on.value.has(knob))) {
        this.on.set(new Set(on));
      }
      for (const strike of struck) this.timeline.struck(strike, this.#began + strike.at_ms);
    } catch {
      // The server is down just now: the next time will do.
    }
  }
}

export const NAMES: Record<Knob, string> = {
  delay: "Delay",
  duplicate: "Duplicate",
  reorder: "Reorder",
  drop_patches: "Drop patches",
  drop_acks: "Drop acks",
  block_websocket: "No WebSocket",
  block_sse: "No SSE",
  collect_sse: "Buffer SSE",
};

const ACTS = {
  cut: "The link was cut",
  half_open: "The link went silent: it is noticed 10 s after a change, or within 35 s",
  reject: "The next change will be refused",
  go_away: "Asked to leave and come back",
} as const;
