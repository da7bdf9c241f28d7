//! The records of a channel as the checkers keep them: their own fold, cheap to copy.
//!
//! Every entry of every log keeps the state that it leads to, so states share all records that did
//! not change between them.

use std::sync::Arc;

use tidewire_core::document::{Document, Record, RecordKey};
use tidewire_core::wire::{Op, OpKind};

/// All records of a channel, sorted by collection and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    records: Vec<(RecordKey, Arc<Record>)>,
}

impl State {
    /// A record, if it exists.
    #[must_use]
    pub fn record(&self, collection: &str, id: &str) -> Option<&Record> {
        let at = self.position(collection, id).ok()?;
        Some(&self.records[at].1)
    }

    /// Every record, sorted.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (&RecordKey, &Record)> {
        self.records.iter().map(|(key, record)| (key, &**record))
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Puts a record in place of what is there; `None` removes it.
    pub fn set(&mut self, collection: &str, id: &str, record: Option<Record>) {
        match (self.position(collection, id), record) {
            (Ok(at), Some(record)) => self.records[at].1 = Arc::new(record),
            (Err(at), Some(record)) => {
                let key = RecordKey::new(collection, id);
                self.records.insert(at, (key, Arc::new(record)));
            }
            (Ok(at), None) => {
                self.records.remove(at);
            }
            (Err(_), None) => {}
        }
    }

    /// Applies one absolute op of a log.
    pub fn apply(&mut self, op: &Op) {
        match &op.kind {
            Some(OpKind::Put(put)) => {
                let record = Record::from_fields(&put.fields);
                self.set(&put.collection, &put.id, Some(record));
            }
            Some(OpKind::Merge(merge)) => {
                let mut record = self
                    .record(&merge.collection, &merge.id)
                    .cloned()
                    .unwrap_or_default();
                record.merge(&merge.fields);
                record.remove_all(merge.unset.iter().map(String::as_str));
                self.set(&merge.collection, &merge.id, Some(record));
            }
            Some(OpKind::Del(del)) => self.set(&del.collection, &del.id, None),
            Some(OpKind::Clear(_)) => self.records.clear(),
            Some(OpKind::Splice(_) | OpKind::Message(_)) | None => {}
        }
    }

    /// Whether a document holds exactly these records.
    #[must_use]
    pub fn is_in(&self, document: &Document) -> bool {
        let mine = self.records();
        document.len() == mine.len()
            && document
                .records()
                .zip(mine)
                .all(|((c, i, theirs), (key, record))| {
                    *c == key.collection && *i == key.id && theirs == record
                })
    }

    fn position(&self, collection: &str, id: &str) -> Result<usize, usize> {
        self.records
            .binary_search_by(|(key, _)| (&*key.collection, &*key.id).cmp(&(collection, id)))
    }
}

impl From<&Document> for State {
    fn from(document: &Document) -> Self {
        let records = document
            .records()
            .map(|(collection, id, record)| {
                let key = RecordKey {
                    collection: Arc::clone(collection),
                    id: Arc::clone(id),
                };
                (key, Arc::new(record.clone()))
            })
            .collect();
        Self { records }
    }
}
