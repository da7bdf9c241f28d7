//! Who changed which record, as far back as the entries in memory tell.
//!
//! Invariant: of every record that an entry in memory names, the newest change is known, and the newest
//! one by anybody but its author. What is older than those entries is not known: `unchanged` since
//! before them does not hold.

use std::collections::BTreeMap;

use tidewire_core::document::RecordKey;
use tidewire_core::wire::Ops;

use crate::log::{Author, Entry, EntryBody};

/// The newest changes of one record. Seq 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastChange {
    /// Who made the newest one; `None`: nobody's mutation, an opening.
    author: Option<Author>,
    seq: u64,
    /// The newest one by anybody else.
    others_seq: u64,
}

impl LastChange {
    pub(super) fn note(&mut self, author: Option<Author>, seq: u64) {
        if self.author != author {
            self.others_seq = self.seq;
            self.author = author;
        }
        self.seq = seq;
    }

    /// The newest change by anybody but `author`.
    pub(super) fn by_others(&self, author: &Author) -> u64 {
        match &self.author {
            Some(last) if last == author => self.others_seq,
            _ => self.seq,
        }
    }
}

/// The newest changes of all records that the entries in memory name. Its size is bounded by theirs.
#[derive(Debug, Default)]
pub(super) struct Changes {
    records: BTreeMap<RecordKey, LastChange>,
    /// The newest entry that emptied the whole channel.
    cleared_seq: u64,
}

impl Changes {
    /// Takes an entry that comes into memory.
    pub(super) fn note(&mut self, entry: &Entry) {
        let seq = entry.cursor.seq;
        if entry.body == EntryBody::Deletion {
            self.cleared_seq = seq;
        }
        let author = entry.body.author().copied();
        for key in keys(entry) {
            self.records.entry(key).or_default().note(author, seq);
        }
    }

    /// Forgets an entry that leaves memory; all older ones have left before.
    pub(super) fn forget(&mut self, entry: &Entry) {
        for key in keys(entry) {
            let is_newest = |change: &LastChange| change.seq <= entry.cursor.seq;
            if self.records.get(&key).is_some_and(is_newest) {
                self.records.remove(&key);
            }
        }
    }

    /// The newest changes of a record.
    pub(super) fn of(&self, key: &RecordKey) -> LastChange {
        let mut last = self.records.get(key).copied().unwrap_or_default();
        if self.cleared_seq > last.seq {
            last.note(None, self.cleared_seq);
        } else if self.cleared_seq > last.others_seq {
            last.others_seq = self.cleared_seq;
        }
        last
    }
}

/// The records that an entry's ops name.
pub(super) fn keys(entry: &Entry) -> impl Iterator<Item = RecordKey> {
    let targets = entry.body.ops().into_iter().flat_map(Ops::targets);
    targets.map(|(collection, id)| RecordKey::new(collection, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_changes_do_not_hide_those_of_others() {
        let (ana, ben) = (Author([1; 16]), Author([2; 16]));
        let mut last = LastChange::default();
        assert_eq!(last.by_others(&ana), 0);
        last.note(Some(ben), 3);
        last.note(Some(ana), 5);
        last.note(Some(ana), 6);
        assert_eq!(last.by_others(&ana), 3);
        assert_eq!(last.by_others(&ben), 6);
        last.note(Some(ben), 8);
        assert_eq!(last.by_others(&ana), 8);
        assert_eq!(last.by_others(&ben), 6);
    }
}
