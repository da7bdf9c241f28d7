/** Where the server's WebSocket is. */

import { TidewireError } from "./errors.js";

const SCHEMES: Readonly<Record<string, string>> = {
  "http:": "ws:",
  "https:": "wss:",
  "ws:": "ws:",
  "wss:": "wss:",
};

/** Below the base path; a URL may end in it already. */
const DOOR = "/v1/ws";

/** Turns what the application wrote into the URL of the socket: `https://host/app` → `wss://host/app/v1/ws`. */
export function socketUrl(url: string | URL): string {
  const text = String(url);
  let parsed: URL;
  try {
    parsed = new URL(text, text.includes("://") ? undefined : pageUrl());
  } catch (cause) {
    throw new TidewireError("invalid_url", `${JSON.stringify(text)} is not a URL: write for example "https://example.org"`, { cause });
  }
  const scheme = SCHEMES[parsed.protocol];
  if (scheme === undefined) {
    throw new TidewireError("invalid_url", `the URL's scheme ${parsed.protocol} must be http, https, ws or wss`);
  }
  if (parsed.username !== "" || parsed.password !== "") {
    throw new TidewireError("invalid_url", "a URL with a user or password in it ends up in logs: use the option token");
  }
  // In the text itself: "" has the query of the page.
  if (/[?#]/.test(text)) {
    throw new TidewireError(
      "invalid_url",
      "a server's URL takes no query and no fragment: leave off what begins with ? or #, and use the option token for a token",
    );
  }
  const path = parsed.pathname.replace(/\/+$/, "");
  return `${scheme}//${parsed.host}${path.endsWith(DOOR) ? path : path + DOOR}`;
}

function pageUrl(): string | undefined {
  return (globalThis as { location?: { href?: string } }).location?.href;
}
