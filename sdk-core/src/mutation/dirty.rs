//! Which records look different since that was told last, as far as anybody wants to hear of it.

use std::sync::Arc;

use crate::document::{Document, Record, RecordKey};

/// What an application wants to hear of; see [`crate::Session::follow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow<'a> {
    /// Every change.
    Everything,
    /// Every change in a collection.
    Collection(&'a str),
    /// The next change of a record, by collection and id: who looks at it again follows it again.
    Record(&'a str, &'a str),
}

/// The changed records of one channel.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// In any order and perhaps more than once.
    records: Vec<RecordKey>,
    /// `None`: everything.
    followed: Option<Box<Followed>>,
}

/// Bounded by what the application asks for: one that reads every record follows every record.
#[derive(Debug, Default)]
struct Followed {
    collections: Vec<Arc<str>>,
    /// Of empty records.
    records: Document,
}

impl Dirty {
    /// For an application that will say what it follows.
    pub(crate) fn on_request() -> Self {
        Self {
            records: Vec::new(),
            followed: Some(Box::default()),
        }
    }

    pub(crate) fn follow(&mut self, what: Follow<'_>) {
        let Some(followed) = &mut self.followed else {
            return;
        };
        match what {
            Follow::Everything => self.followed = None,
            Follow::Collection(name) if followed.has_collection(name) => {}
            Follow::Collection(name) => followed.collections.push(name.into()),
            Follow::Record(collection, _) if followed.has_collection(collection) => {}
            Follow::Record(collection, id) => {
                let nothing = Some(Record::default());
                followed.records.replace(collection, id, nothing);
            }
        }
    }

    /// A record may look different.
    pub(crate) fn note(&mut self, collection: &str, id: &str) {
        let followed = self.followed.as_mut();
        if followed.is_some_and(|followed| !followed.take(collection, id)) {
            return;
        }
        let collection = match self.records.last() {
            Some(last) if *last.collection == *collection => Arc::clone(&last.collection),
            _ => collection.into(),
        };
        let id = id.into();
        self.records.push(RecordKey { collection, id });
    }

    /// What has to be told, each record once, sorted.
    pub(crate) fn take(&mut self) -> Vec<RecordKey> {
        let mut records = std::mem::take(&mut self.records);
        records.sort_unstable();
        records.dedup();
        records
    }
}

impl Followed {
    fn has_collection(&self, name: &str) -> bool {
        self.collections.iter().any(|other| **other == *name)
    }

    /// Whether this is to be told. A record that was followed by itself is told once.
    fn take(&mut self, collection: &str, id: &str) -> bool {
        if self.has_collection(collection) {
            return true;
        }
        let is_followed = self.records.record(collection, id).is_some();
        if is_followed {
            self.records.replace(collection, id, None);
        }
        is_followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(dirty: &mut Dirty, keys: &[(&str, &str)]) -> Vec<String> {
        for (collection, id) in keys {
            dirty.note(collection, id);
        }
        let told = dirty.take().into_iter();
        told.map(|key| format!("{}/{}", key.collection, key.id))
            .collect()
    }

    #[test]
    fn from_the_start_everything_is_told_each_record_once_and_sorted() {
        let mut dirty = Dirty::default();
        assert_eq!(
            told(&mut dirty, &[("b", "1"), ("a", "2"), ("b", "1")]),
            ["a/2", "b/1"]
        );
        dirty.follow(Follow::Record("a", "1"));
        assert_eq!(told(&mut dirty, &[("b", "1")]), ["b/1"]);
    }

    #[test]
    fn a_followed_record_is_told_once_and_a_collection_as_long_as_it_lasts() {
        let mut dirty = Dirty::on_request();
        let changes = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")];
        assert!(told(&mut dirty, &changes).is_empty());
        dirty.follow(Follow::Record("a", "1"));
        dirty.follow(Follow::Collection("c"));
        dirty.follow(Follow::Record("c", "2"));
        assert_eq!(told(&mut dirty, &changes), ["a/1", "c/1"]);
        assert_eq!(told(&mut dirty, &changes), ["c/1"]);
        dirty.follow(Follow::Everything);
        assert_eq!(told(&mut dirty, &changes), ["a/1", "a/2", "b/1", "c/1"]);
    }
}
