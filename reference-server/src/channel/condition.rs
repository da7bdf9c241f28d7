//! Preconditions against the state that a mutation meets: all hold, or it is rejected `conflict`.

use tidewire_core::document::precondition::{describe, holds, subject};
use tidewire_core::document::{Record, RecordKey, Rejection};
use tidewire_core::planted;
use tidewire_core::wire::{ErrorCode, Precondition, PreconditionKind, Unchanged};

use super::changes::LastChange;
use super::ring::Ring;
use crate::log::Author;

/// What preconditions are judged by.
pub(super) struct Conditions<'a> {
    /// A record as the mutation finds it.
    pub(super) lookup: &'a dyn Fn(&str, &str) -> Option<Record>,
    /// Who changed a record last, as the mutation finds it.
    pub(super) last_change: &'a dyn Fn(&RecordKey) -> LastChange,
    pub(super) ring: &'a Ring,
    /// Whose own changes do not count.
    pub(super) author: Author,
    /// `eq` compares at most this many bytes in all; above it the mutation is rejected `too_large`.
    pub(super) compared_bytes_max: usize,
}

impl Conditions<'_> {
    /// Errors: `conflict`, which names the first precondition that does not hold.
    pub(super) fn check(&self, pre: &[Precondition]) -> Result<(), Rejection> {
        let mut compared = 0;
        for (at, kind) in pre.iter().enumerate() {
            let Some(kind) = &kind.kind else { continue };
            let (collection, id) = subject(kind);
            let record = (self.lookup)(collection, id);
            compared += compared_bytes(kind, record.as_ref());
            if compared > self.compared_bytes_max {
                return Err(Rejection::new(
                    ErrorCode::TooLarge,
                    format!(
                        "its preconditions compare more than {} bytes",
                        self.compared_bytes_max
                    ),
                ));
            }
            let holds = holds(kind, record.as_ref()).unwrap_or_else(|| self.is_unchanged(kind));
            if !holds {
                return Err(Rejection::new(
                    ErrorCode::Conflict,
                    format!("precondition {} does not hold: {}", at + 1, describe(kind)),
                ));
            }
        }
        Ok(())
    }

    /// Whether nobody else changed the record since a cursor. One that is off the log's line, or further
    /// back than the entries in memory, cannot be told from: it does not hold.
    fn is_unchanged(&self, kind: &PreconditionKind) -> bool {
        let PreconditionKind::Unchanged(Unchanged {
            collection,
            id,
            since: Some(since),
        }) = kind
        else {
            return false;
        };
        let last = || (self.last_change)(&RecordKey::new(collection, id));
        let on_line = self.ring.holds(since) || planted!(SinceTakenFromAnyLine);
        on_line && last().by_others(&self.author) <= since.seq
    }
}

/// What an `eq` costs beyond the bytes that were pushed for it.
fn compared_bytes(kind: &PreconditionKind, record: Option<&Record>) -> usize {
    match kind {
        PreconditionKind::Eq(eq) => record
            .and_then(|record| record.field(&eq.field))
            .map_or(0, <[u8]>::len),
        _ => 0,
    }
}
