import { useRef, useSyncExternalStore } from "react";

/** State that lives outside React: components read a part of it and render only when that part changes. */
export class Store<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

/** `select` must return the same value while nothing that it reads has changed. */
export function useStore<T, S>(store: Store<T>, select: (value: T) => S): S {
  return useSyncExternalStore(store.subscribe, () => select(store.value));
}

/** For a `select` that builds a list: the list stays the same one while its items do. */
export function useStoreList<T, S>(store: Store<T>, select: (value: T) => readonly S[]): readonly S[] {
  const last = useRef<readonly S[]>([]);
  return useStore(store, (value) => {
    const next = select(value);
    const same = next.length === last.current.length && next.every((item, at) => item === last.current[at]);
    if (!same) last.current = next;
    return last.current;
  });
}
