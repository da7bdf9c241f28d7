//! The fold of a log: document, table, log time, head, and the entries kept for resume.
//!
//! Invariant: an entry is only folded if its place, its epoch and its tag follow from the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_core::document::{Document, Record, Rejection};
use tidewire_core::wire::{Cursor, Known, Op, OpKind, Rejected};

use super::input::Author;
use super::ring::Ring;
use super::tag::tag;
use crate::broker::{Entry, EntryBody, RunId, Snapshot, TableRow};

/// What a log folds to.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) document: Document,
    /// What its records cost, as [`record_cost`] counts.
    pub(super) document_bytes: usize,
    pub(super) table: BTreeMap<Author, TableRow>,
    pub(super) ms: u64,
    pub(super) head: Cursor,
    /// The run id of the head's entry; zero when the log is empty.
    pub(super) run: RunId,
    pub(super) deleted: bool,
    pub(super) ring: Ring,
    /// Entries and bytes that the newest snapshot does not have.
    pub(super) unsaved: Unsaved,
}

/// How much a new snapshot would save.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsaved {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Unsaved {
    /// Takes off what a stored snapshot has.
    pub(super) fn subtract(&mut self, saved: Self) {
        self.entries = self.entries.saturating_sub(saved.entries);
        self.bytes = self.bytes.saturating_sub(saved.bytes);
    }
}

/// An entry does not follow from the log before it.
#[derive(Debug, thiserror::Error)]
#[error("entry {got:?} does not follow {head:?}")]
pub(super) struct Misfit {
    head: Cursor,
    got: Cursor,
}

impl Fold {
    /// Folds what a broker has. `history` entries may lie below the snapshot.
    pub(super) fn load(
        snapshot: Option<&Snapshot>,
        entries: Vec<Arc<Entry>>,
        entries_max: usize,
    ) -> Result<Self, Misfit> {
        let mut fold = Self {
            document: Document::default(),
            document_bytes: 0,
            table: BTreeMap::new(),
            ms: 0,
            head: Cursor::default(),
            run: RunId::default(),
            deleted: false,
            ring: Ring::new(Cursor::default(), entries_max),
            unsaved: Unsaved::default(),
        };
        if let Some(snapshot) = snapshot {
            fold.document = snapshot.document.clone();
            fold.document_bytes = fold
                .document
                .records()
                .map(|(collection, id, record)| record_cost(collection, id, Some(record)))
                .sum();
            fold.table = snapshot.table.iter().cloned().collect();
            fold.ms = snapshot.ms;
            fold.head = snapshot.cursor;
            fold.deleted = snapshot.deleted;
            let base = match entries.first() {
                // The oldest entry cannot be replayed: the tag before it is unknown.
                Some(first) if first.cursor.seq <= snapshot.cursor.seq => first.cursor,
                _ => snapshot.cursor,
            };
            let base = if entries.first().is_some_and(|first| first.cursor.seq == 1) {
                Cursor::default()
            } else {
                base
            };
            fold.ring = Ring::new(base, entries_max);
        }
        let saved = fold.head;
        let mut below = fold.ring.base();
        for entry in entries {
            if entry.cursor.seq > saved.seq {
                fold.apply(entry)?;
            } else if entry.cursor.seq > below.seq {
                follows(&below, &entry)?;
                below = entry.cursor;
                if below.seq == saved.seq {
                    fold.run = entry.run;
                    if below != saved {
                        return Err(Misfit {
                            head: saved,
                            got: below,
                        });
                    }
                }
                fold.ring.push(entry);
            } else if entry.cursor == saved {
                fold.run = entry.run;
            }
        }
        Ok(fold)
    }

    /// Takes the next entry of the log.
    pub(super) fn apply(&mut self, entry: Arc<Entry>) -> Result<(), Misfit> {
        follows(&self.head, &entry)?;
        match &entry.body {
            EntryBody::Opening { ops } => {
                self.deleted = false;
                self.apply_ops(ops);
            }
            EntryBody::Mutation {
                author,
                n,
                low,
                outcome,
            } => {
                decide(self.table.entry(*author).or_default(), *n, *low, outcome);
                if let Ok(ops) = outcome {
                    self.apply_ops(ops);
                }
            }
            EntryBody::Deletion => {
                self.deleted = true;
                self.document = Document::default();
                self.document_bytes = 0;
            }
        }
        self.ms = self.ms.max(entry.ms);
        self.head = entry.cursor;
        self.run = entry.run;
        self.unsaved.entries += 1;
        self.unsaved.bytes += self.ring.push(entry);
        Ok(())
    }

    /// State and table at the head.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            cursor: self.head,
            ms: self.ms,
            deleted: self.deleted,
            document: self.document.clone(),
            table: self
                .table
                .iter()
                .map(|(a, row)| (*a, row.clone()))
                .collect(),
        }
    }

    fn apply_ops(&mut self, ops: &[Op]) {
        for op in ops {
            let before = self.cost_at(op);
            self.document.apply(op);
            self.document_bytes = match &op.kind {
                Some(OpKind::Clear(_)) => 0,
                _ => self.document_bytes + self.cost_at(op) - before,
            };
        }
    }

    /// What the record that an op is about costs now.
    fn cost_at(&self, op: &Op) -> usize {
        let (collection, id) = match &op.kind {
            Some(OpKind::Put(record)) => (&record.collection, &record.id),
            Some(OpKind::Merge(merge)) => (&merge.collection, &merge.id),
            Some(OpKind::Del(del)) => (&del.collection, &del.id),
            Some(OpKind::Clear(_)) | None => return 0,
        };
        record_cost(collection, id, self.document.record(collection, id))
    }
}

/// About what a record costs a document, in memory and in a snapshot.
pub(super) fn record_cost(collection: &str, id: &str, record: Option<&Record>) -> usize {
    record.map_or(0, |record| {
        collection.len() + id.len() + 16 + record.bytes()
    })
}

/// Writes an outcome into an author's row.
pub(super) fn decide(row: &mut TableRow, n: u64, low: u64, outcome: &Result<Vec<Op>, Rejection>) {
    row.last = n;
    row.rejected.retain(|(rejected, _)| *rejected >= low);
    if let Err(rejection) = outcome {
        row.rejected.push((n, rejection.clone()));
    }
}

/// A table row as it travels; `last: 0` when there is none.
pub(super) fn known(row: Option<&TableRow>) -> Known {
    row.map_or_else(Known::default, |row| Known {
        last: row.last,
        rejected: row
            .rejected
            .iter()
            .map(|(n, rejection)| Rejected {
                n: *n,
                code: rejection.code as u32,
                detail: rejection.detail.clone(),
            })
            .collect(),
    })
}

fn follows(head: &Cursor, entry: &Entry) -> Result<(), Misfit> {
    let got = entry.cursor;
    let epoch_fits = match entry.body {
        EntryBody::Opening { .. } => got.epoch > head.epoch,
        _ => got.epoch == head.epoch,
    };
    if got.seq != head.seq + 1 || !epoch_fits || got.tag != tag(head.tag, entry) {
        return Err(Misfit { head: *head, got });
    }
    Ok(())
}
