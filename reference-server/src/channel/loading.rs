//! A fold on its way: a log comes in parts, oldest entry first, after its newest snapshot.
//!
//! Entries below the snapshot (`history`) only fill the ring. Invariant: memory is bounded by the
//! snapshot, the ring and one part, however long the log is.

use std::sync::Arc;

use tidewire_core::wire::Cursor;

use super::fold::{Fold, Misfit, follows};
use super::lifetime::Lifetime;
use super::ring::{Ring, RingMax};
use crate::log::{Entry, EntryBody, RunId, Snapshot};

/// What was loaded so far.
#[derive(Debug)]
pub(super) struct Loading {
    fold: Fold,
    /// The broker's run id, which must not change on the way.
    run: RunId,
    /// Where the snapshot stands; zero without one.
    saved: Cursor,
    /// The newest entry so far that the snapshot has.
    below: Cursor,
    ring_max: RingMax,
    last_seq: u64,
}

impl Loading {
    /// Starts from a snapshot, or from nothing.
    pub(super) fn new(
        snapshot: Option<Snapshot>,
        run: RunId,
        lifetime: Lifetime,
        table_bytes_max: usize,
        ring_max: RingMax,
    ) -> Self {
        let fold = Fold::new(snapshot, lifetime, table_bytes_max, ring_max);
        Self {
            saved: fold.head,
            below: fold.head,
            last_seq: fold.head.seq,
            fold,
            run,
            ring_max,
        }
    }

    /// Takes the next entries.
    pub(super) fn take(&mut self, entries: Vec<Arc<Entry>>) -> Result<(), Misfit> {
        for entry in entries {
            let got = entry.cursor;
            if got.seq <= self.saved.seq && self.last_seq == self.saved.seq {
                self.start_below(got);
                self.fold.opened_ms = entry.ms;
            }
            self.last_seq = got.seq;
            if got.seq > self.saved.seq {
                if self.below != self.saved {
                    return Err(Misfit::Astray {
                        head: self.below,
                        got,
                    });
                }
                self.fold.apply(entry)?;
                continue;
            }
            if got == self.saved {
                self.fold.run = entry.run;
            }
            if matches!(entry.body, EntryBody::Opening { .. }) {
                self.fold.opened_ms = entry.ms;
            }
            if got.seq > self.below.seq {
                follows(&self.below, &entry)?;
                if got.seq == self.saved.seq && got != self.saved {
                    return Err(Misfit::Astray {
                        head: self.saved,
                        got,
                    });
                }
                self.below = got;
                self.fold.ring.push(entry);
            }
        }
        Ok(())
    }

    /// After which seq to read on.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The run id that the log is read in.
    pub(super) const fn run(&self) -> RunId {
        self.run
    }

    /// The fold, when the log has no more entries.
    pub(super) fn finish(self) -> Fold {
        self.fold
    }

    /// The log has entries below the snapshot, the oldest of which is this one. It cannot be replayed:
    /// the tag before it is unknown, unless there is nothing before it.
    fn start_below(&mut self, oldest: Cursor) {
        self.below = match oldest.seq {
            1 => Cursor::default(),
            _ => oldest,
        };
        self.fold.ring = Ring::new(self.below, self.ring_max);
    }
}
