//! The state of one channel: `collection / id → record`, and how ops change it.
//!
//! Invariant: a document is the fold of its ops. Applying an op of the log cannot fail.

pub mod change;
mod equal;
pub mod precondition;
mod record;
pub mod squash;
pub mod value;

use std::sync::Arc;

pub use change::Rejection;
pub use equal::json_equal;
pub use record::{Record, RecordKey};

use crate::text_map::TextMap;
use crate::wire::{self, Op, OpInPlace, OpKind, Ops, RecordInPlace};

/// All records of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// None is empty.
    collections: TextMap<TextMap<Record>>,
}

impl Document {
    /// A record, if it exists.
    #[must_use]
    pub fn record(&self, collection: &str, id: &str) -> Option<&Record> {
        self.collections.get(collection)?.get(id)
    }

    /// The ids of a collection, sorted.
    pub fn ids(&self, collection: &str) -> impl Iterator<Item = &Arc<str>> {
        let records = self.collections.get(collection).into_iter();
        records.flat_map(|records| records.iter().map(|(id, _)| id))
    }

    /// The collections that have a record, sorted.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<str>> {
        self.collections.iter().map(|(name, _)| name)
    }

    /// Every record in canonical order: by collection, then by id.
    pub fn records(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Record)> {
        self.collections
            .iter()
            .flat_map(|(name, records)| records.iter().map(move |(id, r)| (name, id, r)))
    }

    /// Those that come after a record, whether or not that is still there.
    pub fn records_after(
        &self,
        collection: &str,
        id: &str,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Record)> {
        let here = self.collections.iter_from(collection).take(1);
        let here = here.filter(move |(name, _)| ***name == *collection);
        let here = here.flat_map(move |(name, records)| {
            let after = records.iter_from(id).filter(move |(at, _)| ***at != *id);
            after.map(move |(id, record)| (name, id, record))
        });
        let rest = self.collections.iter_from(collection);
        let rest = rest.filter(move |(name, _)| ***name != *collection);
        here.chain(
            rest.flat_map(|(name, records)| {
                records.iter().map(move |(id, record)| (name, id, record))
            }),
        )
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.collections.iter().map(|(_, r)| r.len()).sum()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// Puts a record in place of what is there; `None` removes it.
    pub fn replace(&mut self, collection: &str, id: &str, record: Option<Record>) {
        match record {
            Some(record) => *self.collections.entry(collection).value.entry(id).value = record,
            None => {
                self.remove(collection, id);
            }
        }
    }

    /// Applies one absolute op of the log. A merge into an absent record creates it: the log is right.
    ///
    /// Tells whether that changed anything; `None` for an op that this version does not know, which codecs
    /// refuse before.
    pub fn apply(&mut self, op: &Op) -> Option<bool> {
        Some(match op.kind.as_ref()? {
            OpKind::Put(put) => {
                let fields = put.fields.iter().map(wire::Field::parts);
                self.put(&put.collection, &put.id, Record::of(fields))
            }
            OpKind::Merge(merge) => {
                let fields = merge.fields.iter().map(wire::Field::parts);
                let unset = merge.unset.iter().map(String::as_str);
                self.merge(&merge.collection, &merge.id, fields, unset)
            }
            OpKind::Del(del) => self.remove(&del.collection, &del.id),
            OpKind::Clear(_) => self.clear(),
            OpKind::Splice(_) | OpKind::Message(_) => return None,
        })
    }

    /// The same for an op that still stands in its message.
    pub(crate) fn apply_in_place(&mut self, op: OpInPlace<'_>) -> Option<bool> {
        Some(match op {
            OpInPlace::Put(put) => self.put(put.collection, put.id, Record::of(put.fields())),
            OpInPlace::Merge(merge) => {
                self.merge(merge.collection, merge.id, merge.fields(), merge.unset())
            }
            OpInPlace::Del(del) => self.remove(del.collection, del.id),
            OpInPlace::Clear => self.clear(),
            OpInPlace::Unknown => return None,
        })
    }

    /// The same for a run of them. `changed` hears of each record what its names and values took before and
    /// take now, both 0 where there is none; a clearing has no record. Tells whether all of them are known:
    /// if not, nothing has changed.
    pub fn apply_run(
        &mut self,
        run: &Ops,
        mut changed: impl FnMut(Option<(&str, &str)>, Option<usize>, Option<usize>),
    ) -> bool {
        if run.has_unknown() {
            return false;
        }
        for op in run.in_place() {
            let bytes = |document: &Self| {
                let (collection, id) = op.target()?;
                document.record(collection, id).map(Record::bytes)
            };
            let before = bytes(self);
            self.apply_in_place(op);
            changed(op.target(), before, bytes(self));
        }
        true
    }

    /// Puts a record that still stands in its message. Tells how many bytes its names and values took
    /// before, if it was there, and how many they take now.
    pub(crate) fn put_in_place(&mut self, next: &RecordInPlace<'_>) -> (Option<usize>, usize) {
        let names = next.collection.len() + next.id.len();
        let records = self.collections.entry(next.collection);
        let record = records.value.entry(next.id);
        let before = (!record.is_new).then(|| names + record.value.bytes());
        *record.value = Record::of(next.fields());
        (before, names + record.value.bytes())
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

    fn put(&mut self, collection: &str, id: &str, next: Record) -> bool {
        let record = self.collections.entry(collection).value.entry(id);
        let changed = record.is_new || *record.value != next;
        *record.value = next;
        changed
    }

    /// One search: nearly every op of a log is a merge.
    fn merge<'a>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
        unset: impl Iterator<Item = &'a str>,
    ) -> bool {
        let record = self.collections.entry(collection).value.entry(id);
        let merged = record.value.set_all(fields);
        let removed = record.value.remove_all(unset);
        record.is_new || merged || removed
    }

    fn remove(&mut self, collection: &str, id: &str) -> bool {
        let Some(records) = self.collections.get_mut(collection) else {
            return false;
        };
        let found = records.remove(id);
        if records.is_empty() {
            self.collections.remove(collection);
        }
        found
    }

    fn clear(&mut self) -> bool {
        let changed = !self.is_empty();
        self.collections.clear();
        changed
    }
}

/// The running hash of [`Document::digest`], for whoever goes through the records anyway.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Takes the next record in canonical order.
    pub fn add(&mut self, collection: &str, id: &str, record: &Record) {
        self.record(collection, id, record.fields());
    }

    /// The hash of the records so far.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.0
    }

    fn record<'a>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl Iterator<Item = (&'a str, &'a [u8])>,
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
