// Places in a log (§2): compared by epoch and seq; the tag tells two histories apart.

export const order = (a, b) => a.epoch - b.epoch || a.seq - b.seq;
export const same = (a, b) => order(a, b) === 0 && a.tag === b.tag;
