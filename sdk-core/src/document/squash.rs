//! Squashing: fewer ops with the same result, for readers that lag.
//!
//! Invariant: applying the squashed ops to any document gives what the ops in order give. "The last
//! value per field" is not enough: a merge after a `del` or a `clear` starts from nothing.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::Record;
use crate::planted;
use crate::wire::{Clear, Field, Merge, Op, OpKind, RecordRef};

/// What a range of ops does to one record.
enum Squashed {
    /// It becomes exactly this.
    Replace(Record),
    /// These fields are set (`Some`) or removed; the rest stays.
    Patch(BTreeMap<String, Option<Bytes>>),
    /// It goes.
    Del,
}

/// One op per touched record, after one `clear` if there was any. Ops of later versions are dropped;
/// codecs refuse those before.
#[must_use]
pub fn squash(ops: Vec<Op>) -> Vec<Op> {
    let mut cleared = false;
    let mut records: BTreeMap<(String, String), Squashed> = BTreeMap::new();
    for kind in ops.into_iter().filter_map(|op| op.kind) {
        match kind {
            OpKind::Put(put) if planted!(PutSquashedAsMerge) && !cleared => {
                let slot = records
                    .entry((put.collection, put.id))
                    .or_insert_with(|| Squashed::Patch(BTreeMap::new()));
                slot.merge(put.fields, Vec::new());
            }
            OpKind::Put(put) => {
                let record = Record::from_fields(&put.fields);
                records.insert((put.collection, put.id), Squashed::Replace(record));
            }
            OpKind::Merge(merge) => {
                let slot = records
                    .entry((merge.collection, merge.id))
                    .or_insert_with(|| {
                        if cleared {
                            Squashed::Replace(Record::default())
                        } else {
                            Squashed::Patch(BTreeMap::new())
                        }
                    });
                slot.merge(merge.fields, merge.unset);
            }
            OpKind::Del(del) => {
                records.insert((del.collection, del.id), Squashed::Del);
            }
            OpKind::Clear(_) => {
                cleared = true;
                records.clear();
            }
            OpKind::Splice(_) | OpKind::Message(_) => {}
        }
    }
    let clear = cleared.then_some(OpKind::Clear(Clear {}));
    let rest = records
        .into_iter()
        .filter(|(_, squashed)| !(cleared && matches!(squashed, Squashed::Del)))
        .map(|((collection, id), squashed)| squashed.into_kind(collection, id));
    clear
        .into_iter()
        .chain(rest)
        .map(|kind| Op { kind: Some(kind) })
        .collect()
}

impl Squashed {
    fn merge(&mut self, fields: Vec<Field>, unset: Vec<String>) {
        if matches!(self, Self::Del) {
            *self = Self::Replace(Record::default());
        }
        match self {
            Self::Replace(record) => {
                record.merge(&fields);
                record.remove_all(unset.iter().map(String::as_str));
            }
            Self::Patch(patch) => {
                patch.extend(
                    fields
                        .into_iter()
                        .map(|field| (field.name, Some(field.value))),
                );
                patch.extend(unset.into_iter().map(|name| (name, None)));
            }
            Self::Del => {}
        }
    }

    fn into_kind(self, collection: String, id: String) -> OpKind {
        match self {
            Self::Replace(record) => OpKind::Put(record.to_wire(&collection, &id)),
            Self::Patch(patch) => {
                let mut fields = Vec::new();
                let mut unset = Vec::new();
                for (name, value) in patch {
                    match value {
                        Some(value) => fields.push(Field {
                            name,
                            value,
                            ..Field::default()
                        }),
                        None => unset.push(name),
                    }
                }
                OpKind::Merge(Merge {
                    collection,
                    id,
                    fields,
                    unset,
                })
            }
            Self::Del => OpKind::Del(RecordRef { collection, id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Document;
    use crate::wire;

    fn any_op() -> impl Strategy<Value = Op> {
        let id = (0..3u8).prop_map(|n| format!("r{n}"));
        let fields = || {
            proptest::collection::vec((0..4u8, 0..3u8), 0..4).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| Field {
                        name: format!("f{name}"),
                        value: value.to_string().into(),
                        ..Field::default()
                    })
                    .collect::<Vec<_>>()
            })
        };
        let unset = proptest::collection::vec((0..4u8).prop_map(|n| format!("f{n}")), 0..3);
        (0..10u8, id, fields(), unset).prop_map(|(kind, id, fields, unset)| {
            let collection = "c".to_owned();
            let kind = match kind {
                0..3 => OpKind::Put(wire::Record {
                    collection,
                    id,
                    fields,
                    ..wire::Record::default()
                }),
                3..7 => OpKind::Merge(Merge {
                    collection,
                    id,
                    fields,
                    unset,
                }),
                7..9 => OpKind::Del(RecordRef { collection, id }),
                _ => OpKind::Clear(Clear {}),
            };
            Op { kind: Some(kind) }
        })
    }

    fn apply(document: &mut Document, ops: &[Op]) {
        for op in ops {
            document.apply(op);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn squashed_ops_do_what_the_ops_in_order_do(
            before in proptest::collection::vec(any_op(), 0..8),
            ops in proptest::collection::vec(any_op(), 0..20),
        ) {
            let mut in_order = Document::default();
            apply(&mut in_order, &before);
            let mut at_once = in_order.clone();
            apply(&mut in_order, &ops);
            let squashed = squash(ops);
            prop_assert!(squashed.len() <= 4);
            apply(&mut at_once, &squashed);
            prop_assert_eq!(in_order, at_once);
        }
    }

    #[test]
    fn a_merge_after_a_del_starts_from_nothing() {
        let merge = |name: &str| {
            OpKind::Merge(Merge {
                collection: "c".into(),
                id: "r".into(),
                fields: vec![Field {
                    name: name.into(),
                    value: "1".into(),
                    ..Field::default()
                }],
                unset: Vec::new(),
            })
        };
        let del = OpKind::Del(RecordRef {
            collection: "c".into(),
            id: "r".into(),
        });
        let squashed = squash(
            [merge("a"), del, merge("b")]
                .map(|kind| Op { kind: Some(kind) })
                .to_vec(),
        );
        assert!(
            matches!(&squashed[..], [Op { kind: Some(OpKind::Put(put)) }] if put.fields.len() == 1)
        );
    }
}
