/**
 * Warnings about misuse, each told once, in development only (docs/errors.md, "Warnings").
 *
 * Bundlers put the value in the place of `process.env.NODE_ENV`: with "production" there the functions
 * below are empty, and whoever minifies drops them with their calls. Without a bundler and without a
 * `process`, which is a plain script in a page, nothing is told.
 */

declare const process: { readonly env: { readonly NODE_ENV?: string | undefined } };

/** Names of warnings. */
export type Warning =
  | "client_in_render"
  | "closed_channel"
  | "inline_functions"
  | "stale_set"
  | "two_clients"
  | "vanishing_value";

/** Whether the expression `process.env.NODE_ENV` means something here. Asked when it is needed: importing reads nothing. */
function isReadable(): boolean {
  try {
    return process.env.NODE_ENV !== "production";
  } catch {
    return false;
  }
}

const told = /* @__PURE__ */ new Set<Warning>();

function tell(code: Warning, text: string): void {
  if (told.has(code)) return;
  told.add(code);
  console.warn(`tidewire warning ${code}: ${text}`);
}

// ------------------------------------------------------------------------ hooks

/** How many renders in a row with new functions are no accident, and what is large. */
const NEW_MAX = 10;
const LARGE = 1000;

interface Functions {
  readonly filter?: unknown;
  readonly sortBy?: unknown;
}

const renders = /* @__PURE__ */ new WeakMap<object, { options: Functions; news: number }>();

/** `hook`: any object that stands for one use of a hook. */
export function warnOfInlineFunctions(hook: object, options: Functions, records: () => number): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    const before = renders.get(hook)?.options ?? options;
    const isNew = (name: keyof Functions): boolean =>
      typeof options[name] === "function" && options[name] !== before[name];
    const news = isNew("filter") || isNew("sortBy") ? (renders.get(hook)?.news ?? 0) + 1 : 0;
    renders.set(hook, { options, news });
    if (news < NEW_MAX || told.has("inline_functions") || records() < LARGE) return;
    tell(
      "inline_functions",
      `useCollection was given new functions in ${NEW_MAX} renders in a row, and calls them for all of ${records()} ` +
        "records each time: define filter and sortBy outside the component, or with useCallback.",
    );
  }
}

/** A hook was given a channel that was closed before. */
export function warnOfClosed(channel: { readonly name: string }): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    tell(
      "closed_channel",
      `a hook was given the channel ${JSON.stringify(channel.name)} after its close(), and will show nothing: ` +
        "take the channel from useChannel in each render, rather than from a variable that outlives it.",
    );
  }
}

/** How often, and how quickly, the client of a provider changes where it is made while rendering. */
const CLIENTS_MAX = 3;
const CLIENTS_MS = 10_000;

const clients = /* @__PURE__ */ new WeakMap<object, { client: object; changed: number[] }>();

/** `provider`: any object that stands for one provider. */
export function warnOfNewClient(provider: object, client: object): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    const before = clients.get(provider);
    const changed = !before || before.client === client ? [] : [...before.changed, Date.now()].slice(-CLIENTS_MAX);
    clients.set(provider, { client, changed });
    if (changed.length < CLIENTS_MAX || Date.now() - (changed[0] as number) > CLIENTS_MS) return;
    tell(
      "client_in_render",
      "TidewireProvider is given another client in each render, and each opens its own connection: " +
        "call createClient outside of components, in a module of its own.",
    );
  }
}

// ---------------------------------------------------------------------- clients

/** Longer than a client lingers that hot reload has replaced. */
const TWO_MS = 10_000;

/** Clients that are in use in this page, by URL. */
const inUse = /* @__PURE__ */ new Map<string, Set<object>>();

/** A client begins a session. Only in a page: a program may well act for several people. */
export function warnOfTwoClients(url: string, client: object): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    if (!("document" in globalThis)) return;
    const same = inUse.get(url) ?? new Set();
    inUse.set(url, same.add(client));
    if (same.size < 2 || told.has("two_clients")) return;
    const timer: unknown = setTimeout(() => {
      if (!same.has(client) || same.size < 2) return;
      tell(
        "two_clients",
        `${same.size} clients of ${url} are in use in one page, each with a connection of its own: ` +
          "share one, from a module that calls createClient once.",
      );
    }, TWO_MS);
    (timer as { unref?: () => void }).unref?.();
  }
}

/** A client ends its session. */
export function forgetClient(client: object): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    for (const [url, same] of inUse) {
      if (same.delete(client) && same.size === 0) inUse.delete(url);
    }
  }
}

// ---------------------------------------------------------------------- changes

/** A field of a change, or something in it, is not there. */
export function warnOfVanishing(found: string): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    tell("vanishing_value", `${found}, which JSON leaves out: put leaves the field out, set removes it. Leave it out yourself, or use null.`);
  }
}

/** A store's mirrored key was set to what was made from an older state. */
export function warnOfStaleSet(key: string): void {
  if (/* @__PURE__ */ isReadable() && process.env.NODE_ENV !== "production") {
    tell(
      "stale_set",
      `${JSON.stringify(key)} was set to what had been made from an older state, as across an await. What others did ` +
        "meanwhile was kept; give set a function, set((state) => …), which is given the present one.",
    );
  }
}
