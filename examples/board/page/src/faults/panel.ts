// What the demo's server offers the panel: examples/board/src/panel.rs. The admin door is not for pages.

/** What stays on until it is switched off. */
export type Knob = "delay" | "duplicate" | "reorder" | "drop_patches" | "drop_acks" | Wall;

/** What stands between everybody and the server. */
export type Wall = "block_websocket" | "block_sse" | "collect_sse";

/** What happens once. `who` is a principal, `null` everybody. */
export type Act =
  | { act: "cut" | "half_open" | "reject" | "go_away"; who: string | null }
  | { act: "new_epoch"; channel: string }
  | { act: "restart" | "calm" };

/** Something that the server did on purpose. */
export interface Strike {
  /** Since the plan began. */
  at_ms: number;
  principal?: string;
  direction?: "up" | "down";
  frame?: string;
  channel?: string;
  seq?: number;
  n?: number;
  effect: string;
  rule?: string;
}

export interface News {
  on: Knob[];
  elapsed_ms: number;
  /** What to ask with next time. */
  count: number;
  struck: Strike[];
}

export const REPLAY_URL = "/panel/replay";

export async function fetchNews(after: number): Promise<News> {
  const response = await fetch(`/panel/news/${after}`);
  if (!response.ok) throw new Error(await problemOf(response));
  return (await response.json()) as News;
}

export const turn = (knob: Knob, on: boolean, who: string | null): Promise<void> =>
  post("/panel/knob", { knob, on, who });

export const perform = (act: Act): Promise<void> => post("/panel/act", act);

async function post(path: string, body: unknown): Promise<void> {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await problemOf(response));
}

async function problemOf(response: Response): Promise<string> {
  const text = (await response.text()).trim();
  return response.status === 404 || text === "" ? "this server has no fault panel" : text;
}
