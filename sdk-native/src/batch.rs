//! Several changes as one mutation, and what they ask for besides.

use std::time::Duration;

use serde::Serialize;
use tidewire_core::document::Rejection;
use tidewire_core::wire::{
    Change, ChangeKind, Cursor, Equals, ErrorCode, Inc, Precondition, PreconditionKind, Record,
    RecordRef, Unchanged, Unset,
};
use tidewire_core::{MutateError, MutateOptions, MutationStatus};

use crate::fields::to_fields;
use crate::mutation::Mutation;

/// Several changes that become one mutation: all of them, or none.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
    pub(crate) options: MutateOptions,
    /// How far the view had come when the batch was begun.
    pub(crate) view: Option<Cursor>,
    pub(crate) after: Option<Mutation>,
    pub(crate) refused: Option<MutateError>,
}

impl Batch {
    /// Sets fields of a record that exists; the others stay. `fields` is a map or struct.
    pub fn set(&mut self, collection: &str, id: &str, fields: impl Serialize) -> &mut Self {
        self.record(collection, id, &fields, ChangeKind::Set)
    }

    /// Puts a whole record, new or in place of what is there. `fields` is a map or struct.
    pub fn put(&mut self, collection: &str, id: &str, fields: impl Serialize) -> &mut Self {
        self.record(collection, id, &fields, ChangeKind::Put)
    }

    /// Removes fields of a record that exists.
    pub fn unset(&mut self, collection: &str, id: &str, fields: &[&str]) -> &mut Self {
        self.add(ChangeKind::Unset(Unset {
            collection: collection.to_owned(),
            id: id.to_owned(),
            fields: fields.iter().map(|&name| name.to_owned()).collect(),
        }))
    }

    /// Deletes a record; one that does not exist is fine.
    pub fn delete(&mut self, collection: &str, id: &str) -> &mut Self {
        self.add(ChangeKind::Del(RecordRef {
            collection: collection.to_owned(),
            id: id.to_owned(),
        }))
    }

    /// Adds to an integer field of a record that exists; an absent field counts from 0.
    pub fn increment(&mut self, collection: &str, id: &str, field: &str, by: i64) -> &mut Self {
        self.add(ChangeKind::Inc(Inc {
            collection: collection.to_owned(),
            id: id.to_owned(),
            field: field.to_owned(),
            by,
        }))
    }

    /// Demands that the record exists when the server decides. All demands must hold, or the mutation is
    /// rejected with `conflict`; until then the view shows it, whatever they say.
    pub fn require_exists(&mut self, collection: &str, id: &str) -> &mut Self {
        self.require(PreconditionKind::Exists(place(collection, id)))
    }

    /// Demands that the record does not exist.
    pub fn require_absent(&mut self, collection: &str, id: &str) -> &mut Self {
        self.require(PreconditionKind::Absent(place(collection, id)))
    }

    /// Demands that the field has this value, compared as JSON.
    pub fn require_eq(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        value: impl Serialize,
    ) -> &mut Self {
        match serde_json::to_vec(&value) {
            Ok(value) => self.require(PreconditionKind::Eq(Equals {
                collection: collection.to_owned(),
                id: id.to_owned(),
                field: field.to_owned(),
                value: value.into(),
            })),
            Err(error) => self.refuse(format!("the value that {field:.100?} must have: {error}")),
        }
    }

    /// Demands that nobody else changed the record since the view that the batch was begun with.
    pub fn require_unchanged(&mut self, collection: &str, id: &str) -> &mut Self {
        match self.view {
            Some(view) => self.require_unchanged_since(collection, id, view),
            None => self.refuse("unchanged since when: there is no view yet, await ready()".into()),
        }
    }

    /// Demands that nobody else changed the record since the view had come so far.
    pub fn require_unchanged_since(
        &mut self,
        collection: &str,
        id: &str,
        since: Cursor,
    ) -> &mut Self {
        self.require(PreconditionKind::Unchanged(Unchanged {
            collection: collection.to_owned(),
            id: id.to_owned(),
            since: Some(since),
        }))
    }

    /// How long the mutation is worth something, from now on; then it ends as
    /// [`MutationError::Expired`](crate::MutationError::Expired). At most [`tidewire_core::Config::ttl_max`].
    pub fn ttl(&mut self, ttl: Duration) -> &mut Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// Only if that mutation of the same channel is committed; else this one is rejected with `dep_failed`.
    pub fn after(&mut self, mutation: &Mutation) -> &mut Self {
        let committed = mutation.status() == MutationStatus::Committed;
        self.after = (!committed).then(|| mutation.clone());
        self
    }

    /// An older mutation of the channel with the same key that was not sent yet ends as
    /// [`MutationError::Cancelled`](crate::MutationError::Cancelled): of a value that changes all the time only the latest is sent.
    pub fn coalesce(&mut self, key: &str) -> &mut Self {
        self.options.coalesce_key = Some(key.into());
        self
    }

    fn require(&mut self, kind: PreconditionKind) -> &mut Self {
        self.options
            .preconditions
            .push(Precondition { kind: Some(kind) });
        self
    }

    fn refuse(&mut self, detail: String) -> &mut Self {
        let refused = Rejection::new(ErrorCode::Invalid, detail);
        self.refused.get_or_insert(refused.into());
        self
    }

    fn record(
        &mut self,
        collection: &str,
        id: &str,
        fields: &impl Serialize,
        kind: fn(Record) -> ChangeKind,
    ) -> &mut Self {
        match to_fields(fields) {
            Ok(fields) => self.add(kind(Record {
                collection: collection.to_owned(),
                id: id.to_owned(),
                fields,
                ..Record::default()
            })),
            Err(refused) => {
                self.refused.get_or_insert(refused);
                self
            }
        }
    }

    fn add(&mut self, kind: ChangeKind) -> &mut Self {
        self.changes.push(Change { kind: Some(kind) });
        self
    }
}

fn place(collection: &str, id: &str) -> RecordRef {
    RecordRef {
        collection: collection.to_owned(),
        id: id.to_owned(),
    }
}
