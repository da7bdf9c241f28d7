//! A snapshot on its way in: invisible until it is whole.

use crate::document::{Document, Record};
use crate::wire::{Cursor, Known, SnapshotEnd, SnapshotPart};

/// Parts received so far.
#[derive(Debug)]
pub(crate) struct IncomingSnapshot {
    pub(crate) cursor: Cursor,
    pub(crate) known: Known,
    document: Document,
    records: u64,
    bytes: usize,
}

impl IncomingSnapshot {
    pub(crate) fn new(cursor: Cursor, known: Known) -> Self {
        Self {
            cursor,
            known,
            document: Document::default(),
            records: 0,
            bytes: 0,
        }
    }

    /// Adds a part; `false` once the snapshot is larger than allowed.
    pub(crate) fn add(&mut self, part: &SnapshotPart, bytes_max: usize) -> bool {
        for wire in &part.records {
            let record = Record::from_fields(&wire.fields);
            self.bytes += wire.collection.len() + wire.id.len() + record.bytes();
            self.records += 1;
            self.document
                .replace(&wire.collection, &wire.id, Some(record));
        }
        self.bytes <= bytes_max
    }

    /// The document, if what arrived is what was sent.
    pub(crate) fn finish(self, end: &SnapshotEnd) -> Option<(Cursor, Known, Document)> {
        (self.records == end.records && self.document.digest() == end.digest).then_some((
            self.cursor,
            self.known,
            self.document,
        ))
    }
}
