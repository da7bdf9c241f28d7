// After a change by keyboard the focused element may stand elsewhere or be gone: the focus follows it.

/** Focuses what matches once it is there, unless something else was focused meanwhile. */
export function focusSoon(selector: string): void {
  requestAnimationFrame(() => {
    if (document.activeElement && document.activeElement !== document.body) return;
    document.querySelector<HTMLElement>(selector)?.focus();
  });
}

export const titleOf = (card: string): string => `[data-card="${CSS.escape(card)}"] .card__title`;

export const adderOf = (column: string): string => `[data-column="${CSS.escape(column)}"] .composer`;
