/**
 * Places for requests that last. A browser opens six connections to an origin over HTTP/1.1, for all of its tabs together:
 * four may wait for messages, so that POSTs get through.
 */

const PLACES = [0, 1, 2, 3];

interface Locks {
  request(
    name: string,
    options: { ifAvailable: true },
    use: (lock: unknown) => Promise<void> | undefined,
  ): Promise<unknown>;
}

/**
 * Takes a place and returns how to let it go; `undefined`: all are taken. Where there are no Web Locks there are no
 * other tabs that it would know of, and there is always one.
 */
export async function heldPlace(signal: AbortSignal): Promise<(() => void) | undefined> {
  const { locks } = (globalThis as { navigator?: { locks?: Locks } }).navigator ?? {};
  if (!locks) return () => {};
  for (const place of PLACES) {
    const release = await take(locks, `tidewire:slot:${place}`);
    if (release) {
      if (signal.aborted) release();
      else return release;
    }
    if (signal.aborted) return undefined;
  }
  return undefined;
}

function take(locks: Locks, name: string): Promise<(() => void) | undefined> {
  return new Promise((taken) => {
    const asked = locks.request(name, { ifAvailable: true }, (lock) => {
      if (lock) return new Promise<void>((release) => taken(release));
      taken(undefined);
      return undefined;
    });
    // A page that is being left, or one without an origin, may have no locks.
    asked.catch(() => taken(undefined));
  });
}
