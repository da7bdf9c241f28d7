//! The fold of a log: document, table, log time, head, and the entries kept for resume.
//!
//! Invariant: an entry is only folded if its place, its epoch and its tag follow from the one before.

use std::sync::Arc;

use tidewire_core::document::{Document, Record};
use tidewire_core::planted;
use tidewire_core::wire::{Cursor, Op, OpKind};

use super::lifetime::Lifetime;
use super::ring::Ring;
use super::table::{Decision, Table};
use crate::log::tag::tag;
use crate::log::{Entry, EntryBody, RunId, Snapshot};

/// What a log folds to.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) document: Document,
    /// What its records cost, as [`record_cost`] counts.
    pub(super) document_bytes: usize,
    pub(super) table: Table,
    lifetime: Lifetime,
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

impl Misfit {
    pub(super) const fn new(head: Cursor, got: Cursor) -> Self {
        Self { head, got }
    }
}

impl Fold {
    /// What a snapshot says, with nothing in memory to replay.
    pub(super) fn new(snapshot: Option<&Snapshot>, lifetime: Lifetime, entries_max: usize) -> Self {
        let head = snapshot.map_or_else(Cursor::default, |snapshot| snapshot.cursor);
        let document = snapshot.map_or_else(Document::default, |s| s.document.clone());
        Self {
            document_bytes: document
                .records()
                .map(|(collection, id, record)| record_cost(collection, id, Some(record)))
                .sum(),
            document,
            table: snapshot.map_or_else(Table::default, |s| Table::new(&s.table)),
            lifetime,
            ms: snapshot.map_or(0, |s| s.ms),
            head,
            run: RunId::default(),
            deleted: snapshot.is_some_and(|s| s.deleted),
            ring: Ring::new(head, entries_max),
            unsaved: Unsaved::default(),
        }
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
                deadline_ms,
                outcome,
            } => {
                let decision = Decision {
                    n: *n,
                    low: *low,
                    deadline_ms: *deadline_ms,
                    outcome,
                };
                self.table.decide(*author, decision);
                if let Ok(ops) = outcome {
                    self.apply_ops(ops);
                }
            }
            EntryBody::Deletion => {
                self.deleted = true;
                if !planted!(DeletionKeepsRecords) {
                    self.document = Document::default();
                    self.document_bytes = 0;
                }
            }
        }
        self.ms = self.ms.max(entry.ms);
        self.table.evict(&self.lifetime, self.ms);
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
                .rows()
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

/// Whether an entry is the next one after a head.
pub(super) fn follows(head: &Cursor, entry: &Entry) -> Result<(), Misfit> {
    let got = entry.cursor;
    let epoch_fits = match entry.body {
        EntryBody::Opening { .. } => got.epoch > head.epoch,
        _ => got.epoch == head.epoch,
    };
    if got.seq != head.seq + 1 || !epoch_fits || got.tag != tag(head.tag, entry) {
        return Err(Misfit::new(*head, got));
    }
    Ok(())
}
