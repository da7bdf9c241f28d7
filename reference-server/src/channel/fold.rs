//! The fold of a log: document, table, log time, head, and the entries kept for resume.
//!
//! Invariant: an entry is only folded if its place, its epoch and its tag follow from the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_core::document::{Document, Record, RecordKey};
use tidewire_core::planted;
use tidewire_core::wire::{Cursor, Ops};

use super::lifetime::Lifetime;
use super::records::Records;
use super::ring::{Ring, RingMax};
use super::table::{Decision, Table};
use crate::log::tag::tag;
use crate::log::{Entry, EntryBody, LogKind, RunId, Snapshot};

/// What a log folds to.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) document: Records,
    /// What its records cost, as [`record_cost`] counts.
    pub(super) document_bytes: usize,
    pub(super) table: Table,
    lifetime: Lifetime,
    pub(super) ms: u64,
    pub(super) head: Cursor,
    /// The run id of the head's entry; zero when the log is empty.
    pub(super) run: RunId,
    pub(super) deleted: bool,
    /// When an epoch was opened last. Where memory does not reach back to it: a moment after it.
    pub(super) opened_ms: u64,
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

/// Why an entry cannot be folded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misfit {
    /// It does not follow from the log before it.
    #[error("entry {got:?} does not follow {head:?}")]
    Astray { head: Cursor, got: Cursor },
    /// Only a later version knows what it says.
    #[error("entry {0:?} is of a later version: run the version that wrote it")]
    Later(Cursor),
    /// The log is not of records.
    #[error("the log is of kind {0:?}, this namespace's are of records")]
    WrongKind(LogKind),
}

impl Fold {
    /// What a snapshot says, with nothing in memory to replay.
    pub(super) fn new(
        snapshot: Option<Snapshot>,
        lifetime: Lifetime,
        table_bytes_max: usize,
        ring_max: RingMax,
    ) -> Self {
        let Snapshot {
            cursor: head,
            ms,
            deleted,
            kind: _,
            document,
            table,
        } = snapshot.unwrap_or_default();
        Self {
            document_bytes: document
                .records()
                .map(|(collection, id, record)| record_cost(collection, id, Some(record)))
                .sum(),
            document: Records::new(document),
            table: Table::new(table, table_bytes_max),
            lifetime,
            ms,
            head,
            run: RunId::default(),
            deleted,
            opened_ms: ms,
            ring: Ring::new(head, ring_max),
            unsaved: Unsaved::default(),
        }
    }

    /// Takes the next entry of the log.
    pub(super) fn apply(&mut self, entry: Arc<Entry>) -> Result<(), Misfit> {
        follows(&self.head, &entry)?;
        self.take(entry, true)
    }

    /// Takes the next entries of the log.
    pub(super) fn apply_all(&mut self, entries: Vec<Arc<Entry>>) -> Result<(), Misfit> {
        entries.into_iter().try_for_each(|entry| self.apply(entry))
    }

    /// Takes entries that were decided here, against this very head, and are in the log now: they follow,
    /// and what they make of records is known.
    pub(super) fn apply_own(
        &mut self,
        entries: Vec<Arc<Entry>>,
        results: Option<Results>,
    ) -> Result<(), Misfit> {
        let merge = results.is_none();
        for entry in entries {
            debug_assert!(follows(&self.head, &entry).is_ok(), "{entry:?}");
            self.take(entry, merge)?;
        }
        if let Some(Results {
            records,
            document_bytes,
        }) = results
        {
            for (key, record) in records {
                self.document.replace(key, record);
            }
            self.document_bytes = document_bytes;
        }
        Ok(())
    }

    /// Folds an entry that follows; its ops only if `merge`.
    fn take(&mut self, entry: Arc<Entry>, merge: bool) -> Result<(), Misfit> {
        match &entry.body {
            EntryBody::Opening { kind, .. } => {
                if *kind != LogKind::State {
                    return Err(Misfit::WrongKind(*kind));
                }
                self.deleted = false;
                self.opened_ms = entry.ms;
            }
            EntryBody::Mutation {
                author,
                n,
                low,
                deadline_ms,
                check,
                outcome,
                schema: _,
                trace: _,
            } => {
                let decision = Decision {
                    n: *n,
                    low: *low,
                    deadline_ms: *deadline_ms,
                    check: *check,
                    outcome,
                };
                self.table.decide(*author, decision);
            }
            EntryBody::Deletion => {
                self.deleted = true;
                if !planted!(DeletionKeepsRecords) {
                    self.document.clear();
                    self.document_bytes = 0;
                }
            }
            EntryBody::Keyed { .. } | EntryBody::Expiry { .. } | EntryBody::Close => {
                return Err(Misfit::Later(entry.cursor));
            }
        }
        if let Some(ops) = entry.body.ops().filter(|_| merge)
            && !self.apply_ops(ops)
        {
            return Err(Misfit::Later(entry.cursor));
        }
        self.ms = self.ms.max(entry.ms);
        self.table.evict(&self.lifetime, self.ms);
        self.table.make_room();
        self.head = entry.cursor;
        self.run = entry.run;
        self.unsaved.entries += 1;
        self.unsaved.bytes += self.ring.push(entry);
        Ok(())
    }

    /// What all of it costs, about.
    pub(super) const fn bytes(&self) -> usize {
        self.document_bytes + self.table.bytes()
    }

    /// State and table at the head, as they stay however the fold goes on.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let document = self.document.hold();
        self.snapshot_with(document)
    }

    /// The same for tests that only look.
    #[cfg(test)]
    pub(super) fn seen(&self) -> Snapshot {
        self.snapshot_with(self.document.clone().hold())
    }

    fn snapshot_with(&self, document: Arc<Document>) -> Snapshot {
        Snapshot {
            cursor: self.head,
            ms: self.ms,
            deleted: self.deleted,
            kind: LogKind::State,
            document,
            table: self
                .table
                .rows()
                .iter()
                .map(|(a, row)| (*a, row.clone()))
                .collect(),
        }
    }

    fn apply_ops(&mut self, ops: &Ops) -> bool {
        let bytes = &mut self.document_bytes;
        self.document.apply(ops, |target, before, after| {
            let Some((collection, id)) = target else {
                *bytes = 0;
                return;
            };
            let cost = |bytes: Option<usize>| bytes.map_or(0, |bytes| cost(collection, id, bytes));
            *bytes = *bytes + cost(after) - cost(before);
        })
    }
}

/// What a turn made of the records that it touched: what the fold becomes once its entries are in the log.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) records: BTreeMap<RecordKey, Option<Record>>,
    pub(super) document_bytes: usize,
}

/// About what a record costs a document, in memory and in a snapshot.
pub(super) fn record_cost(collection: &str, id: &str, record: Option<&Record>) -> usize {
    record.map_or(0, |record| cost(collection, id, record.bytes()))
}

const fn cost(collection: &str, id: &str, bytes: usize) -> usize {
    collection.len() + id.len() + 16 + bytes
}

/// Whether an entry is the next one after a head.
pub(super) fn follows(head: &Cursor, entry: &Entry) -> Result<(), Misfit> {
    let got = entry.cursor;
    let epoch_fits = match entry.body {
        EntryBody::Opening { .. } => got.epoch > head.epoch,
        _ => got.epoch == head.epoch,
    };
    let is_next = got.seq == head.seq + 1 && entry.previous_tag == head.tag;
    if !is_next || !epoch_fits || got.tag != tag(head.tag, entry) {
        return Err(Misfit::Astray { head: *head, got });
    }
    Ok(())
}
