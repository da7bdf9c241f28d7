//! The records of a fold, which can be held still while the fold goes on.
//!
//! A snapshot that is saved, or handed to a newcomer part by part, holds the records as they were. Meanwhile
//! what changes is kept beside them, and woven in once nobody holds them any more: no turn costs more the
//! more records there are.
//!
//! Invariant: what is read here is what is held, with what changed since over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_core::document::{Document, Record, RecordKey};
use tidewire_core::wire::Ops;

/// So many changed records are kept beside those that are held before the latter are copied, at least; and
/// never more than a quarter of them.
const CHANGED_MIN: usize = 1024;

/// All records, and what they cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    base: Arc<Document>,
    /// Records as they are now, or gone, where `base` is held and another.
    changed: BTreeMap<RecordKey, Option<Record>>,
}

impl Records {
    pub(super) const fn new(base: Arc<Document>) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
        }
    }

    /// A record, if it exists.
    pub(super) fn record(&self, collection: &str, id: &str) -> Option<&Record> {
        if !self.changed.is_empty()
            && let Some(changed) = self.changed.get(&RecordKey::new(collection, id))
        {
            return changed.as_ref();
        }
        self.base.record(collection, id)
    }

    /// Puts a record in place of what is there; `None` removes it.
    pub(super) fn replace(&mut self, key: RecordKey, record: Option<Record>) {
        match self.settled() {
            Some(base) => base.replace(&key.collection, &key.id, record),
            None => {
                self.changed.insert(key, record);
            }
        }
    }

    /// Applies ops, as [`Document::apply_run`] does.
    pub(super) fn apply(
        &mut self,
        run: &Ops,
        changed: impl FnMut(Option<(&str, &str)>, Option<usize>, Option<usize>),
    ) -> bool {
        if let Some(base) = self.settled() {
            return base.apply_run(run, changed);
        }
        // What the ops name, aside: merges need what they merge into.
        let mut aside = Document::default();
        for (collection, id) in run.targets() {
            let record = self.record(collection, id).cloned();
            aside.replace(collection, id, record);
        }
        if run.targets().count() != run.count() {
            // Something else than records.
            return self.copied().apply_run(run, changed);
        }
        let is_known = aside.apply_run(run, changed);
        for (collection, id) in run.targets().filter(|_| is_known) {
            let record = aside.record(collection, id).cloned();
            self.changed.insert(RecordKey::new(collection, id), record);
        }
        is_known
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The records as they are now, however they change later.
    pub(super) fn hold(&mut self) -> Arc<Document> {
        if self.settled().is_none() && !self.changed.is_empty() {
            self.copied();
        }
        Arc::clone(&self.base)
    }

    /// The one document that they are, if nobody holds it, or if too much has changed beside it.
    fn settled(&mut self) -> Option<&mut Document> {
        let is_held = Arc::get_mut(&mut self.base).is_none();
        if is_held && (self.changed.len() < CHANGED_MIN || self.changed.len() < self.base.len() / 4)
        {
            return None;
        }
        Some(self.copied())
    }

    /// The one document that they are: a copy, if somebody holds it.
    fn copied(&mut self) -> &mut Document {
        let base = Arc::make_mut(&mut self.base);
        for (key, record) in std::mem::take(&mut self.changed) {
            base.replace(&key.collection, &key.id, record);
        }
        base
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewire_core::document::put_op;
    use tidewire_core::wire::{Clear, Field, Merge, Op, OpKind, RecordRef};

    use super::*;

    fn op(kind: u8, id: u8, value: u8) -> Op {
        let (collection, id) = ("c".to_owned(), format!("r{id}"));
        let fields = vec![Field {
            name: format!("f{}", value % 2),
            value: value.to_string().into(),
            ..Field::default()
        }];
        let kind = match kind {
            0..3 => {
                return put_op(tidewire_core::wire::Record {
                    collection,
                    id,
                    fields,
                    ..Default::default()
                });
            }
            3..6 => OpKind::Merge(Merge {
                collection,
                id,
                fields,
                unset: Vec::new(),
            }),
            6..8 => OpKind::Del(RecordRef { collection, id }),
            _ => OpKind::Clear(Clear {}),
        };
        Op { kind: Some(kind) }
    }

    proptest! {
        /// Whoever holds the records sees them as they were; everybody else as if nobody held them.
        #[test]
        fn records_that_are_held_stay_and_go_on(
            steps in proptest::collection::vec(
                (proptest::collection::vec((0..9u8, 0..4u8, 0..5u8), 0..4), 0..4u8),
                0..40,
            ),
        ) {
            let mut plain = Document::default();
            let mut records = Records::default();
            let mut held: Vec<(Arc<Document>, Document)> = Vec::new();
            for (ops, act) in steps {
                let ops: Vec<Op> = ops.into_iter().map(|(k, id, v)| op(k, id, v)).collect();
                let run = Ops::new(&ops);
                let mut told = Vec::new();
                let mut expected = Vec::new();
                prop_assert!(records.apply(&run, |_, before, after| told.push((before, after))));
                prop_assert!(plain.apply_run(&run, |_, before, after| expected.push((before, after))));
                prop_assert_eq!(told, expected);
                match act {
                    0 => held.push((records.hold(), plain.clone())),
                    1 if !held.is_empty() => drop(held.remove(0)),
                    2 => {
                        let mut record = Record::default();
                        record.insert("f0", b"7");
                        records.replace(RecordKey::new("c", "r1"), Some(record.clone()));
                        plain.replace("c", "r1", Some(record));
                    }
                    _ => {}
                }
                for id in 0..4 {
                    let id = format!("r{id}");
                    prop_assert_eq!(records.record("c", &id), plain.record("c", &id));
                }
                for (seen, then) in &held {
                    prop_assert_eq!(&**seen, then);
                }
            }
            prop_assert_eq!(&*records.hold(), &plain);
        }
    }

    #[test]
    fn a_hold_that_lasts_costs_one_copy_and_not_one_for_each_change() {
        let mut records = Records::default();
        let held = records.hold();
        for n in 0..3 * CHANGED_MIN {
            let key = RecordKey::new("c", &format!("r{n}"));
            records.replace(key, Some(Record::default()));
            assert!(records.changed.len() <= CHANGED_MIN);
        }
        assert!(held.is_empty());
        assert_eq!(records.hold().len(), 3 * CHANGED_MIN);
    }
}
