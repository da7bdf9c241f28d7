import type { BoardChannel } from "./model.ts";

declare global {
  interface Window {
    /** With `?debug` in the address: what this tab shows, in a form that can be compared byte for byte. */
    __board?: { dump(): string };
  }
}

/** Collections, ids and fields in code-point order, so that equal boards are equal texts. */
export function dump(channel: BoardChannel): string {
  const collections = (["cards", "columns"] as const).map((collection) => {
    const records = [...channel.ids(collection)]
      .sort()
      .map((id) => [id, sorted(channel.get(collection, id) ?? {})]);
    return [collection, Object.fromEntries(records)];
  });
  return JSON.stringify(Object.fromEntries(collections));
}

export function exposeForDebugging(channel: BoardChannel): () => void {
  window.__board = { dump: () => dump(channel) };
  return () => {
    delete window.__board;
  };
}

const sorted = (record: object): object =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
