//! What the simulated application allows: a few plain rules that random changes often break.

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Record, Rejection, change, value};
use tidewire_core::wire::{Change, ChangeKind, ErrorCode, Field, Limits};
use tidewire_server::channel::{Policy, View};

use crate::model::State;

/// The collections that applications use.
pub const COLLECTIONS: &[&str] = &["cards", "notes"];

/// The record that nobody may change.
pub const LOCKED: &str = "locked";

/// Titles longer than this many bytes, quotes included, are refused.
pub const TITLE_BYTES_MAX: usize = 12;

/// `inc` may not lift a field above this.
pub const COUNT_MAX: i64 = 12;

/// The server's half of the simulated application.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of a text in every initial record: makes snapshots of several parts.
    pub bulk_bytes: usize,
}

impl Rules {
    /// Whether a change is allowed where `lookup` finds the present records.
    pub fn judge(
        lookup: impl Fn(&str, &str) -> Option<Record>,
        change: &Change,
    ) -> Result<(), Rejection> {
        let refused = |detail: &str| Err(Rejection::new(ErrorCode::Refused, detail));
        let Some(kind) = &change.kind else {
            return Ok(());
        };
        let (collection, id) = change::target(kind);
        if id == LOCKED {
            return refused("this record is locked");
        }
        match kind {
            ChangeKind::Set(record) | ChangeKind::Put(record)
                if record
                    .fields
                    .iter()
                    .any(|f| f.name == "title" && f.value.len() > TITLE_BYTES_MAX) =>
            {
                refused("title is too long")
            }
            ChangeKind::Inc(inc) => {
                let from = lookup(collection, id)
                    .and_then(|record| value::as_integer(record.field(&inc.field)?))
                    .unwrap_or(0);
                if inc.by > 0 && inc.by < 1000 && from.saturating_add(inc.by) > COUNT_MAX {
                    return refused("that is too many");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the server has to make of a mutation, worked out without the server's code.
    /// What is malformed never comes as far: the core refuses it in the call.
    pub fn evaluate(state: &State, changes: &[Change]) -> Result<State, Rejection> {
        let mut next = state.clone();
        for item in changes {
            let Some(kind) = &item.kind else { continue };
            let (collection, id) = change::target(kind);
            Self::judge(|c, i| next.record(c, i).cloned(), item)?;
            let record = change::apply_change(next.record(collection, id), kind, &Limits::DEFAULT)?;
            next.set(collection, id, record);
        }
        Ok(next)
    }
}

impl Policy for Rules {
    fn initial(&self, _channel: &ChannelName) -> Document {
        let mut document = Document::default();
        for collection in COLLECTIONS {
            for id in ["a", "b", LOCKED] {
                let mut fields = vec![
                    Field {
                        name: "count".into(),
                        value: "0".into(),
                        ..Field::default()
                    },
                    Field {
                        name: "title".into(),
                        value: "\"new\"".into(),
                        ..Field::default()
                    },
                ];
                if self.bulk_bytes > 0 {
                    fields.push(Field {
                        name: "bulk".into(),
                        value: format!("\"{}\"", "x".repeat(self.bulk_bytes)).into(),
                        ..Field::default()
                    });
                }
                document.replace(collection, id, Some(Record::from_fields(&fields)));
            }
        }
        document
    }

    fn validate(
        &self,
        _channel: &ChannelName,
        view: &View<'_>,
        _principal: &str,
        change: &Change,
    ) -> Result<(), Rejection> {
        Self::judge(|collection, id| view.record(collection, id), change)
    }
}
