//! A snapshot on its way to newcomers, shared by all who join at about the same time.
//!
//! Invariant: a part is encoded when the first of them gets that far, so that no turn takes the whole document;
//! all of them are of one cursor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidewire_core::document::{Digest, Document, RecordKey};
use tidewire_core::wire::{Cursor, ServerKind, SnapshotBegin, SnapshotEnd, SnapshotPart};

use super::encode::PART_BYTES;
use super::fold::Fold;
use super::message::Message;
use super::table::known;
use crate::log::{Author, TableRow};

/// The messages of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotMessages {
    pub(super) cursor: Cursor,
    encoding: Mutex<Encoding>,
    /// The table at `cursor`: each subscriber's `begin` carries its own row.
    table: BTreeMap<Author, TableRow>,
}

/// Parts, then the end, as far as anybody got.
#[derive(Debug)]
struct Encoding {
    channel: Box<str>,
    messages: Vec<Message>,
    digest: Digest,
    /// The records, until the end is there, and the last one that is.
    records: Option<(Arc<Document>, Option<RecordKey>)>,
}

impl SnapshotMessages {
    /// The state of a fold, which may go on.
    pub(super) fn new(channel: &str, fold: &mut Fold) -> Self {
        let encoding = Encoding {
            channel: channel.into(),
            messages: Vec::new(),
            digest: Digest::default(),
            records: Some((fold.document.hold(), None)),
        };
        Self {
            cursor: fold.head,
            encoding: Mutex::new(encoding),
            table: fold.table.rows().clone(),
        }
    }

    /// A part, or the end behind the last one; `None` after that.
    pub(super) fn message(&self, at: usize) -> Option<Message> {
        // Nobody else waits for it, and nothing in it panics half-way.
        let mut encoding = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        while encoding.messages.len() <= at {
            let message = encoding.next(self.cursor)?;
            encoding.messages.push(message);
        }
        encoding.messages.get(at).cloned()
    }

    /// The first message, for one subscriber. `head`: where the log stands now, whatever this is of.
    pub(super) fn begin(
        &self,
        channel: &str,
        author: &Author,
        head: Cursor,
        proof: Bytes,
    ) -> ServerKind {
        ServerKind::SnapshotBegin(SnapshotBegin {
            channel: channel.into(),
            cursor: Some(self.cursor),
            known: Some(known(self.table.get(author))),
            head: Some(head),
            proof,
        })
    }
}

impl Encoding {
    fn next(&mut self, cursor: Cursor) -> Option<Message> {
        let (document, after) = self.records.as_mut()?;
        let mut part = SnapshotPart {
            channel: self.channel.to_string(),
            records: Vec::new(),
        };
        let mut bytes = 0;
        let mut rest: Box<dyn Iterator<Item = _>> = match after.as_ref() {
            None => Box::new(document.records()),
            Some(after) => Box::new(document.records_after(&after.collection, &after.id)),
        };
        let mut last = None;
        for (collection, id, record) in &mut *rest {
            let size = record.bytes() + collection.len() + id.len() + 16;
            if bytes + size > PART_BYTES && last.is_some() {
                break;
            }
            bytes += size;
            self.digest.add(collection, id, record);
            part.records.push(record.to_wire(collection, id));
            last = Some((Arc::clone(collection), Arc::clone(id)));
        }
        drop(rest);
        if let Some((collection, id)) = last {
            *after = Some(RecordKey { collection, id });
            return Some(ServerKind::SnapshotPart(part).into());
        }
        let end = SnapshotEnd {
            channel: part.channel,
            records: document.len() as u64,
            digest: self.digest.value(),
            cursor: Some(cursor),
        };
        self.records = None;
        Some(ServerKind::SnapshotEnd(end).into())
    }
}
