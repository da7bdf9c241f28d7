/** What the platform knows about network and sleep. None of it is trusted; it only hurries things up. */

export type Hint = "online" | "offline" | "resumed" | "frozen";

/** Passes hints on until the returned function is called. A platform without these events gives none. */
export function watchPlatform(tell: (hint: Hint) => void): () => void {
  const stops: (() => void)[] = [];
  const listen = (target: Partial<EventTarget> | undefined, type: string, hint: (event: Event) => Hint | undefined): void => {
    if (typeof target?.addEventListener !== "function") return;
    const listener = (event: Event): void => {
      const given = hint(event);
      if (given) tell(given);
    };
    target.addEventListener(type, listener);
    stops.push(() => target.removeEventListener?.(type, listener));
  };
  const scope = globalThis as Partial<EventTarget> & { document?: Document };
  const { document } = scope;
  listen(scope, "online", () => "online");
  listen(scope, "offline", () => "offline");
  // Into the back-forward cache, which an open socket may bar; a page that goes for good needs no hint.
  listen(scope, "pagehide", (event) => ((event as PageTransitionEvent).persisted ? "frozen" : undefined));
  listen(scope, "pageshow", () => "resumed");
  listen(document, "freeze", () => "frozen");
  listen(document, "resume", () => "resumed");
  listen(document, "visibilitychange", () => (document?.visibilityState === "visible" ? "resumed" : undefined));
  return () => {
    for (const stop of stops) stop();
  };
}
