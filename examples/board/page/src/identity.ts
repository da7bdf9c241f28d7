// Who is here, and which board: from the address, else from what this tab remembers.

import type { Transport } from "tidewire";

export interface Identity {
  /** The name that others see; it can be changed while here. */
  name: string;
  /** Sent to the server; its dev auth makes `dev:NAME` the principal NAME. */
  token: string;
  /** The channel of the board. */
  channel: `board:${string}`;
  /** What the client may go over; all without a word about it. */
  transports: Transport[] | undefined;
  /** Whether the page offers `window.__board`, for tests and curious people. */
  debug: boolean;
}

const REMEMBERED = "tidewire-board-name";
const NAME_MAX = 24;
const MOODS = [
  "Brisk",
  "Calm",
  "Clever",
  "Cosy",
  "Eager",
  "Gentle",
  "Jolly",
  "Keen",
  "Lucky",
  "Merry",
  "Nimble",
  "Sunny",
];
const CREATURES = [
  "Auk",
  "Crab",
  "Curlew",
  "Dolphin",
  "Gannet",
  "Heron",
  "Manta",
  "Otter",
  "Puffin",
  "Seal",
  "Tern",
  "Whale",
];

/** Readable under white text (contrast at least 4.5). */
const COLORS = [
  "#0f766e",
  "#1d4ed8",
  "#7e22ce",
  "#be185d",
  "#b45309",
  "#15803d",
  "#b91c1c",
  "#0369a1",
  "#6d28d9",
  "#9d174d",
];

export function identify(address: URL, memory: Storage): Identity {
  const query = address.searchParams;
  const name = tidyName(query.get("name") ?? memory.getItem(REMEMBERED) ?? friendlyName());
  remember(name, memory);
  return {
    name,
    token: query.get("token") ?? `dev:${principal(name)}`,
    channel: `board:${segment(query.get("board") ?? "main")}`,
    transports: query.get("transports")?.split(",") as Transport[] | undefined,
    debug: query.has("debug"),
  };
}

export function remember(name: string, memory: Storage): void {
  memory.setItem(REMEMBERED, name);
}

export function tidyName(text: string): string {
  return (
    [
      ...text
        .replace(/\p{Cc}/gu, " ")
        .replace(/\s+/g, " ")
        .trim(),
    ]
      .slice(0, NAME_MAX)
      .join("") || friendlyName()
  );
}

/** One colour per name, the same on every screen. */
export function colorOf(name: string): string {
  let hash = 0x811c9dc5;
  for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193);
  hash = (hash ^ (hash >>> 15)) >>> 0;
  return COLORS[hash % COLORS.length] ?? "#0f766e";
}

/** A colour that a peer chose, if it is one; whatever else it sent never reaches a style. */
export function safeColor(color: unknown, name: string): string {
  return typeof color === "string" && /^#[0-9a-f]{6}$/i.test(color) ? color : colorOf(name);
}

/** "Ana Lima" → "AL", "ana" → "A". */
export function initials(name: string): string {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map(
    (word) => [...(word ?? "")][0] ?? "",
  );
  return letters.join("").toUpperCase() || "?";
}

function friendlyName(): string {
  const pick = (list: readonly string[]): string => list[Math.floor(Math.random() * list.length)] ?? "Otter";
  return `${pick(MOODS)} ${pick(CREATURES)}`;
}

const principal = (name: string): string => segment(name.replaceAll(" ", "-"));

/** What a channel's segment and a dev principal may contain. */
const segment = (text: string): string => text.replace(/[^A-Za-z0-9_.-]/g, "_").slice(0, 64) || "main";
