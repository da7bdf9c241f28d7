//! The state of one channel: `collection / id → record`, and how ops change it.
//!
//! Invariant: a document is the fold of its ops. Applying an op of the log cannot fail.

pub mod change;
mod equal;
mod id;
pub mod precondition;
mod record;
pub mod squash;
pub mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use change::Rejection;
pub use equal::json_equal;
pub use record::{Record, RecordKey};

use self::id::{Id, Key, Wanted};
use crate::wire::{self, Merge, Op, OpKind};

type Collection = BTreeMap<Id, Record>;

/// All records of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    collections: BTreeMap<Arc<str>, Collection>,
}

/// What one op changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// One record; `false` when it already looked like that.
    Record(RecordKey, bool),
    /// Every record that there was.
    All,
}

impl Document {
    /// A record, if it exists.
    #[must_use]
    pub fn record(&self, collection: &str, id: &str) -> Option<&Record> {
        let id = &Wanted::new(id);
        self.collections.get(collection)?.get(id as &dyn Key)
    }

    /// The ids of a collection, sorted.
    pub fn ids(&self, collection: &str) -> impl Iterator<Item = &Arc<str>> {
        self.collections
            .get(collection)
            .into_iter()
            .flat_map(|c| c.keys().map(|id| &id.text))
    }

    /// The collections that have a record, sorted.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<str>> {
        self.collections.keys()
    }

    /// Every record in canonical order: by collection, then by id.
    pub fn records(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Record)> {
        self.collections
            .iter()
            .flat_map(|(name, records)| records.iter().map(move |(id, r)| (name, &id.text, r)))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.collections.values().map(BTreeMap::len).sum()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// Puts a record in place of what is there; `None` removes it.
    pub fn replace(&mut self, collection: &str, id: &str, record: Option<Record>) {
        match record {
            Some(mut record) => {
                let records = match self.collections.get_mut(collection) {
                    Some(records) => records,
                    None => self.collections.entry(collection.into()).or_default(),
                };
                let wanted = Wanted::new(id);
                match records.get_mut(&wanted as &dyn Key) {
                    Some(slot) => *slot = record,
                    None => {
                        // Records of a collection mostly have the same fields.
                        if let Some((_, other)) = records.last_key_value() {
                            record.share_names(other);
                        }
                        records.insert(Id::from(&wanted), record);
                    }
                }
            }
            None => {
                self.remove(collection, id);
            }
        }
    }

    /// Applies one absolute op of the log. A merge into an absent record creates it: the log is right.
    ///
    /// `None` for an op that this version does not know; codecs refuse those before.
    pub fn apply(&mut self, op: &Op) -> Option<Touched> {
        Some(match op.kind.as_ref()? {
            OpKind::Put(put) => {
                let next = Record::from_fields(&put.fields);
                let changed = self.record(&put.collection, &put.id) != Some(&next);
                if changed {
                    self.replace(&put.collection, &put.id, Some(next));
                }
                Touched::Record(RecordKey::new(&put.collection, &put.id), changed)
            }
            OpKind::Merge(merge) => {
                let changed = self.merge(merge);
                Touched::Record(RecordKey::new(&merge.collection, &merge.id), changed)
            }
            OpKind::Del(del) => {
                let changed = self.remove(&del.collection, &del.id);
                Touched::Record(RecordKey::new(&del.collection, &del.id), changed)
            }
            OpKind::Clear(_) => {
                self.collections.clear();
                Touched::All
            }
        })
    }

    /// A 64-bit FNV-1a hash of the canonical form: per record collection, 0, id, 0, then per field
    /// name, 0, value, 0. What `snapshot_end.digest` carries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        for (collection, id, record) in self.records() {
            digest.record(collection, id, record.fields());
        }
        digest.0
    }

    /// One search where the record exists: nearly every op of a log is such a merge.
    fn merge(&mut self, merge: &Merge) -> bool {
        let wanted = &Wanted::new(&merge.id) as &dyn Key;
        let records = self.collections.get_mut(&*merge.collection);
        if let Some(record) = records.and_then(|records| records.get_mut(wanted)) {
            let merged = record.merge(&merge.fields);
            return record.remove_all(&merge.unset) || merged;
        }
        let mut record = Record::from_fields(&merge.fields);
        record.remove_all(&merge.unset);
        self.replace(&merge.collection, &merge.id, Some(record));
        true
    }

    fn remove(&mut self, collection: &str, id: &str) -> bool {
        let Some(records) = self.collections.get_mut(collection) else {
            return false;
        };
        let found = records.remove(&Wanted::new(id) as &dyn Key).is_some();
        if records.is_empty() {
            self.collections.remove(collection);
        }
        found
    }
}

/// The running hash of [`Document::digest`].
#[derive(Clone, Copy, Debug)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn record<'a>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl Iterator<Item = (&'a str, &'a bytes::Bytes)>,
    ) {
        self.part(collection.as_bytes());
        self.part(id.as_bytes());
        for (name, value) in fields {
            self.part(name.as_bytes());
            self.part(value);
        }
    }

    fn part(&mut self, bytes: &[u8]) {
        for &b in bytes.iter().chain(&[0]) {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Builds the op that creates a record, for `initial` documents and snapshots.
#[must_use]
pub fn put_op(record: wire::Record) -> Op {
    Op {
        kind: Some(OpKind::Put(record)),
    }
}
