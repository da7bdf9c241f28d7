//! Preconditions: what a mutation demands of records before any of its changes applies.
//!
//! Both sides use the same rules: the server to decide, the client to find the record that a rejection
//! is about.

use super::Record;
use super::change::{Rejection, is_name};
use super::equal::json_equal;
use super::value::{Quoted, is_json};
use crate::channel::name::is_segment;
use crate::wire::{ErrorCode, Limits, Precondition, PreconditionKind};

/// Most preconditions of one mutation; more is rejected `too_large`.
pub const PRECONDITIONS_MAX: usize = 64;

/// The record that a precondition is about.
#[must_use]
pub fn subject(pre: &PreconditionKind) -> (&str, &str) {
    match pre {
        PreconditionKind::Exists(record) | PreconditionKind::Absent(record) => {
            (&record.collection, &record.id)
        }
        PreconditionKind::Eq(eq) => (&eq.collection, &eq.id),
        PreconditionKind::Unchanged(unchanged) => (&unchanged.collection, &unchanged.id),
    }
}

/// Whether a precondition holds for the record as it is; `None` for `unchanged`, which only the log
/// can tell. `eq` of an absent record or field does not hold.
#[must_use]
pub fn holds(pre: &PreconditionKind, record: Option<&Record>) -> Option<bool> {
    match pre {
        PreconditionKind::Exists(_) => Some(record.is_some()),
        PreconditionKind::Absent(_) => Some(record.is_none()),
        PreconditionKind::Eq(eq) => Some(
            record
                .and_then(|record| record.field(&eq.field))
                .is_some_and(|value| json_equal(value, &eq.value)),
        ),
        PreconditionKind::Unchanged(_) => None,
    }
}

/// A precondition for people, as `conflict` names it: `eq cards/x title`.
#[must_use]
pub fn describe(pre: &PreconditionKind) -> String {
    let (collection, id) = subject(pre);
    match pre {
        PreconditionKind::Exists(_) => format!("exists {collection}/{id}"),
        PreconditionKind::Absent(_) => format!("absent {collection}/{id}"),
        PreconditionKind::Eq(eq) => format!("eq {collection}/{id} {}", eq.field),
        PreconditionKind::Unchanged(_) => format!("unchanged {collection}/{id}"),
    }
}

/// Bytes of names and values of preconditions; they count towards the limit of a mutation.
#[must_use]
pub fn preconditions_bytes(pre: &[Precondition]) -> usize {
    pre.iter()
        .filter_map(|pre| pre.kind.as_ref())
        .map(|kind| {
            let (collection, id) = subject(kind);
            let rest = match kind {
                PreconditionKind::Eq(eq) => eq.field.len() + eq.value.len(),
                PreconditionKind::Unchanged(_) => 24,
                PreconditionKind::Exists(_) | PreconditionKind::Absent(_) => 0,
            };
            collection.len() + id.len() + rest
        })
        .sum()
}

/// Checks what can be checked without state. `changes_bytes`: what the mutation's changes count.
///
/// Errors: `invalid` or `too_large`.
pub fn check_preconditions(
    pre: &[Precondition],
    changes_bytes: usize,
    limits: &Limits,
) -> Result<(), Rejection> {
    if pre.len() > PRECONDITIONS_MAX {
        return Err(Rejection::new(
            ErrorCode::TooLarge,
            format!("{} preconditions are over {PRECONDITIONS_MAX}", pre.len()),
        ));
    }
    for one in pre {
        let kind = one.kind.as_ref().ok_or_else(|| {
            Rejection::new(
                ErrorCode::Unsupported,
                "a precondition that this version does not know: update the server",
            )
        })?;
        check(kind).map_err(|detail| Rejection::new(ErrorCode::Invalid, detail))?;
    }
    let bytes = changes_bytes + preconditions_bytes(pre);
    if bytes > limits.mutation_bytes as usize {
        return Err(Rejection::new(
            ErrorCode::TooLarge,
            format!(
                "mutation of {bytes} bytes with its preconditions is over {}",
                limits.mutation_bytes
            ),
        ));
    }
    Ok(())
}

fn check(kind: &PreconditionKind) -> Result<(), String> {
    let (collection, id) = subject(kind);
    if !is_segment(collection) || !is_name(id) {
        return Err(format!(
            "a precondition names a record {}/{} that cannot exist",
            Quoted(collection),
            Quoted(id)
        ));
    }
    match kind {
        PreconditionKind::Exists(_) | PreconditionKind::Absent(_) => Ok(()),
        PreconditionKind::Eq(eq) if !is_name(&eq.field) => Err(format!(
            "eq names a field {} that cannot exist",
            Quoted(&eq.field)
        )),
        PreconditionKind::Eq(eq) if !is_json(&eq.value) => Err(format!(
            "the value that eq expects of field {} is not JSON nested at most 64 deep",
            Quoted(&eq.field)
        )),
        PreconditionKind::Eq(_) => Ok(()),
        PreconditionKind::Unchanged(unchanged) => match unchanged.since {
            Some(_) => Ok(()),
            None => Err("unchanged needs a cursor".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Cursor, Equals, Field, RecordRef, Unchanged};

    fn pre(kind: PreconditionKind) -> Precondition {
        Precondition { kind: Some(kind) }
    }

    fn record_ref(id: &str) -> RecordRef {
        RecordRef {
            collection: "cards".into(),
            id: id.into(),
        }
    }

    fn eq(field: &str, value: &str) -> PreconditionKind {
        PreconditionKind::Eq(Equals {
            collection: "cards".into(),
            id: "x".into(),
            field: field.into(),
            value: value.to_owned().into(),
        })
    }

    #[test]
    fn a_precondition_is_judged_by_the_record_alone() {
        let record = Record::from_fields(&[Field {
            name: "a".into(),
            value: "{\"n\":1,\"m\":2}".into(),
            ..Field::default()
        }]);
        let exists = PreconditionKind::Exists(record_ref("x"));
        let absent = PreconditionKind::Absent(record_ref("x"));
        assert_eq!(holds(&exists, Some(&record)), Some(true));
        assert_eq!(holds(&exists, None), Some(false));
        assert_eq!(holds(&absent, Some(&record)), Some(false));
        assert_eq!(holds(&absent, None), Some(true));
        assert_eq!(
            holds(&eq("a", "{\"m\":2.0,\"n\":1}"), Some(&record)),
            Some(true)
        );
        assert_eq!(holds(&eq("a", "{\"m\":2}"), Some(&record)), Some(false));
        assert_eq!(holds(&eq("b", "null"), Some(&record)), Some(false));
        assert_eq!(holds(&eq("a", "1"), None), Some(false));
    }

    #[test]
    fn preconditions_out_of_the_rules_are_refused_with_a_code() {
        let limits = Limits::DEFAULT;
        let refused = |list: &[Precondition]| {
            check_preconditions(list, 0, &limits)
                .err()
                .map(|rejection| rejection.code)
        };
        let unchanged = |since| {
            pre(PreconditionKind::Unchanged(Unchanged {
                collection: "cards".into(),
                id: "x".into(),
                since,
            }))
        };
        assert_eq!(
            refused(&[pre(eq("a", "1")), unchanged(Some(Cursor::default()))]),
            None
        );
        assert_eq!(refused(&[unchanged(None)]), Some(ErrorCode::Invalid));
        assert_eq!(refused(&[pre(eq("", "1"))]), Some(ErrorCode::Invalid));
        assert_eq!(refused(&[pre(eq("a", "x"))]), Some(ErrorCode::Invalid));
        assert_eq!(
            refused(&[Precondition::default()]),
            Some(ErrorCode::Unsupported)
        );
        let nowhere = pre(PreconditionKind::Exists(record_ref("")));
        assert_eq!(refused(&[nowhere]), Some(ErrorCode::Invalid));
        let many = vec![pre(eq("a", "1")); PRECONDITIONS_MAX + 1];
        assert_eq!(refused(&many), Some(ErrorCode::TooLarge));
        let large = format!("\"{}\"", "x".repeat(limits.mutation_bytes as usize));
        assert_eq!(refused(&[pre(eq("a", &large))]), Some(ErrorCode::TooLarge));
    }
}
