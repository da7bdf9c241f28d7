//! The entries kept in memory for resume and for readers that lag.
//!
//! Invariant: contiguous, and every cursor from `base` to the newest one is on the log's line.

use std::collections::VecDeque;
use std::sync::Arc;

use tidewire_core::wire::{Cursor, Ops};

use super::changes::Changes;
use crate::log::Entry;

/// An entry above this does not fit a frame safely, and a patch never splits one: whoever lacks it
/// gets a snapshot. Only the `initial` records of a channel can be as large.
pub(super) const ENTRY_BYTES_MAX: usize = 512 * 1024;

/// What an op that is kept costs besides its bytes.
const OP_BYTES: usize = 128;

/// How much a ring keeps. At a limit the oldest entries go; whoever needs one of them gets a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingMax {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// A small op costs far more memory than bytes on the wire.
    pub(super) ops: usize,
}

/// The newest entries of a log.
#[derive(Debug)]
pub(super) struct Ring {
    base: Cursor,
    entries: VecDeque<(Arc<Entry>, usize)>,
    max: RingMax,
    bytes: usize,
    ops: usize,
    changes: Changes,
}

impl Ring {
    /// An empty ring after `base`.
    pub(super) fn new(base: Cursor, max: RingMax) -> Self {
        Self {
            base,
            entries: VecDeque::new(),
            max,
            bytes: 0,
            ops: 0,
            changes: Changes::default(),
        }
    }

    /// Keeps an entry that follows the newest one; returns its size.
    pub(super) fn push(&mut self, entry: Arc<Entry>) -> usize {
        let bytes = entry.bytes();
        self.bytes += bytes;
        self.ops += ops(&entry);
        self.changes.note(&entry);
        self.entries.push_back((entry, bytes));
        let max = self.max;
        while self.entries.len() > max.entries || self.bytes > max.bytes || self.ops > max.ops {
            self.pop();
        }
        // It could not be replayed, nor anything across it.
        if bytes > ENTRY_BYTES_MAX {
            while !self.entries.is_empty() {
                self.pop();
            }
        }
        bytes
    }

    /// What its entries cost, those of small ops more than their bytes on the wire.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.ops * OP_BYTES
    }

    /// Who changed which record since `base`.
    pub(super) const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The cursor at a seq, if it is in memory.
    pub(super) fn cursor_at(&self, seq: u64) -> Option<Cursor> {
        if seq == self.base.seq {
            return Some(self.base);
        }
        self.index(seq).map(|at| self.entries[at].0.cursor)
    }

    /// Whether a reader at this cursor can be served from here.
    pub(super) fn holds(&self, cursor: &Cursor) -> bool {
        if cursor.seq == self.base.seq {
            return *cursor == self.base;
        }
        self.index(cursor.seq)
            .is_some_and(|at| self.entries[at].0.cursor == *cursor)
    }

    /// Whether this log has no such place, or another entry there. Of a place before the oldest entry in
    /// memory nobody can say.
    pub(super) fn contradicts(&self, cursor: &Cursor) -> bool {
        let newest = self.base.seq + self.entries.len() as u64;
        cursor.seq > newest || (cursor.seq >= self.base.seq && !self.holds(cursor))
    }

    /// The entries after a cursor, oldest first, each with its size; `None` if the ring does not hold the cursor.
    pub(super) fn after(&self, cursor: &Cursor) -> Option<impl Iterator<Item = (&Entry, usize)>> {
        let skip = if *cursor == self.base {
            0
        } else if self.holds(cursor) {
            self.index(cursor.seq)? + 1
        } else {
            return None;
        };
        Some(
            self.entries
                .range(skip..)
                .map(|(entry, bytes)| (&**entry, *bytes)),
        )
    }

    fn index(&self, seq: u64) -> Option<usize> {
        let at = usize::try_from(seq.checked_sub(self.base.seq + 1)?).ok()?;
        (at < self.entries.len()).then_some(at)
    }

    fn pop(&mut self) {
        if let Some((entry, bytes)) = self.entries.pop_front() {
            self.base = entry.cursor;
            self.bytes -= bytes;
            self.ops -= ops(&entry);
            self.changes.forget(&entry);
        }
    }
}

fn ops(entry: &Entry) -> usize {
    entry.body.ops().map_or(0, Ops::count)
}
