//! Intents: what a mutation asks for, and what it does to one record.
//!
//! Both sides use the same rule: the server to decide, the client to predict.

use super::record::{Record, RecordKey};
use super::value::{Quoted, as_integer, from_integer, is_json};
use crate::channel::name::is_segment;
use crate::wire::{self, Change, ChangeKind, ErrorCode, Limits, Merge, Op, OpKind};

/// Why a mutation is not applied: a code for programs, a reason for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Rejection {
    /// One of the permanent outcomes (docs/protocol.md, "Codes").
    pub code: ErrorCode,
    /// At most 200 bytes.
    pub detail: String,
}

impl Rejection {
    /// Builds a rejection; the reason is cut to what fits on the wire.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: wire::cut_detail(detail.into()),
        }
    }
}

/// The record that an intent touches; what is about a log as a whole names none, with two empty names.
#[must_use]
pub fn target(change: &ChangeKind) -> (&str, &str) {
    match change {
        ChangeKind::Set(r) | ChangeKind::Put(r) => (&r.collection, &r.id),
        ChangeKind::Unset(u) => (&u.collection, &u.id),
        ChangeKind::Del(r) => (&r.collection, &r.id),
        ChangeKind::Inc(i) => (&i.collection, &i.id),
        ChangeKind::Append(a) => (&a.collection, &a.id),
        ChangeKind::Send(_) | ChangeKind::Close(_) => ("", ""),
    }
}

/// What `change` makes of a record; `None` is an absent record.
///
/// Errors: `not_found` for `set`, `unset`, `inc` on an absent record; `invalid` for `inc` of a
/// non-integer or past `i64`; `too_large` for a record over `limits.record_bytes`; `unsupported` for what
/// is reserved.
pub fn apply_change(
    current: Option<&Record>,
    change: &ChangeKind,
    limits: &Limits,
) -> Result<Option<Record>, Rejection> {
    let existing = || {
        current.cloned().ok_or_else(|| {
            let (collection, id) = target(change);
            Rejection::new(ErrorCode::NotFound, format!("no record {collection}/{id}"))
        })
    };
    let next = match change {
        ChangeKind::Put(record) => Record::from_fields(&record.fields),
        ChangeKind::Set(record) => {
            let mut next = existing()?;
            next.merge(&record.fields);
            next
        }
        ChangeKind::Unset(unset) => {
            let mut next = existing()?;
            next.remove_all(unset.fields.iter().map(String::as_str));
            next
        }
        ChangeKind::Inc(inc) => {
            let mut next = existing()?;
            let from = match next.field(&inc.field) {
                None => 0,
                Some(value) => as_integer(value).ok_or_else(|| {
                    Rejection::new(
                        ErrorCode::Invalid,
                        format!("field {} is not an integer", Quoted(&inc.field)),
                    )
                })?,
            };
            let to = from.checked_add(inc.by).ok_or_else(|| {
                Rejection::new(
                    ErrorCode::Invalid,
                    format!("field {} would leave the range of i64", Quoted(&inc.field)),
                )
            })?;
            next.insert(&inc.field, &from_integer(to));
            next
        }
        ChangeKind::Del(_) => return Ok(None),
        ChangeKind::Append(_) | ChangeKind::Send(_) | ChangeKind::Close(_) => {
            return Err(unsupported());
        }
    };
    let bytes = next.bytes();
    if bytes > limits.record_bytes as usize {
        return Err(Rejection::new(
            ErrorCode::TooLarge,
            format!("record of {bytes} bytes is over {}", limits.record_bytes),
        ));
    }
    Ok(Some(next))
}

/// The absolute result of a change that turned a record into `next`.
#[must_use]
pub fn to_op(change: &ChangeKind, next: Option<&Record>) -> Op {
    let kind = match change {
        ChangeKind::Put(record) => OpKind::Put(record.clone()),
        ChangeKind::Del(record) => OpKind::Del(record.clone()),
        ChangeKind::Set(record) => OpKind::Merge(Merge {
            collection: record.collection.clone(),
            id: record.id.clone(),
            fields: record.fields.clone(),
            unset: Vec::new(),
        }),
        ChangeKind::Unset(unset) => OpKind::Merge(Merge {
            collection: unset.collection.clone(),
            id: unset.id.clone(),
            fields: Vec::new(),
            unset: unset.fields.clone(),
        }),
        ChangeKind::Inc(inc) => OpKind::Merge(Merge {
            collection: inc.collection.clone(),
            id: inc.id.clone(),
            fields: next
                .and_then(|record| record.field(&inc.field))
                .map(|value| wire::Field {
                    name: inc.field.clone(),
                    value: value.to_vec().into(),
                    ..wire::Field::default()
                })
                .into_iter()
                .collect(),
            unset: Vec::new(),
        }),
        // Nothing applies them yet.
        ChangeKind::Append(_) | ChangeKind::Send(_) | ChangeKind::Close(_) => {
            return Op { kind: None };
        }
    };
    Op { kind: Some(kind) }
}

/// A change, or a part of one, that is reserved for a later version or comes from one.
fn unsupported() -> Rejection {
    Rejection::new(
        ErrorCode::Unsupported,
        "a change that this version does not know: update the server",
    )
}

/// Checks what can be checked without state: names, values, sizes, each field once, at least one change.
///
/// Errors: `invalid`, `too_large`, or `unsupported` for changes and parts of them of a later version.
pub fn check_changes(changes: &[Change], limits: &Limits) -> Result<(), Rejection> {
    if changes.is_empty() {
        return Err(Rejection::new(
            ErrorCode::Invalid,
            "a mutation needs a change",
        ));
    }
    let mut bytes = 0;
    for change in changes {
        let kind = change.kind.as_ref().ok_or_else(unsupported)?;
        bytes += check_change(kind)?;
    }
    if bytes > limits.mutation_bytes as usize {
        return Err(Rejection::new(
            ErrorCode::TooLarge,
            format!(
                "mutation of {bytes} bytes is over {}",
                limits.mutation_bytes
            ),
        ));
    }
    Ok(())
}

/// Bytes of names and values of a mutation, what its limit counts.
#[must_use]
pub fn changes_bytes(changes: &[Change]) -> usize {
    changes
        .iter()
        .filter_map(|change| change.kind.as_ref())
        .map(|kind| {
            let (collection, id) = target(kind);
            let rest = match kind {
                ChangeKind::Set(r) | ChangeKind::Put(r) => {
                    r.fields.iter().map(|f| f.name.len() + f.value.len()).sum()
                }
                ChangeKind::Unset(u) => u.fields.iter().map(String::len).sum(),
                ChangeKind::Inc(i) => i.field.len() + 8,
                ChangeKind::Append(a) => a.field.len() + a.text.len(),
                ChangeKind::Send(s) => s.data.len(),
                ChangeKind::Del(_) | ChangeKind::Close(_) => 0,
            };
            collection.len() + id.len() + rest
        })
        .sum()
}

fn check_change(kind: &ChangeKind) -> Result<usize, Rejection> {
    let invalid = |detail: String| Err(Rejection::new(ErrorCode::Invalid, detail));
    if is_reserved(kind) {
        return Err(unsupported());
    }
    let (collection, id) = target(kind);
    if !is_segment(collection) {
        return invalid(format!(
            "collection {} must be 1-64 of A-Z a-z 0-9 _ . -",
            Quoted(collection)
        ));
    }
    if !is_name(id) {
        return invalid(format!(
            "record id {} must be 1-128 bytes without control characters",
            Quoted(id)
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    let mut bytes = collection.len() + id.len();
    match kind {
        ChangeKind::Set(record) | ChangeKind::Put(record) => {
            for field in &record.fields {
                names.push(&field.name);
                bytes += field.value.len();
                if !is_json(&field.value) {
                    return invalid(format!(
                        "value of field {} is not JSON nested at most 64 deep",
                        Quoted(&field.name)
                    ));
                }
            }
        }
        ChangeKind::Unset(unset) => names.extend(unset.fields.iter().map(String::as_str)),
        ChangeKind::Inc(inc) => {
            names.push(&inc.field);
            bytes += 8;
        }
        _ => {}
    }
    names.sort_unstable();
    for (at, name) in names.iter().enumerate() {
        if !is_name(name) {
            return invalid(format!(
                "field name {} must be 1-128 bytes without control characters",
                Quoted(name)
            ));
        }
        if names.get(at + 1) == Some(name) {
            return invalid(format!(
                "field {} appears twice in one change",
                Quoted(name)
            ));
        }
        bytes += name.len();
    }
    Ok(bytes)
}

/// Whether a change is, or holds, something whose number is reserved and which nothing applies yet.
fn is_reserved(kind: &ChangeKind) -> bool {
    match kind {
        ChangeKind::Set(record) | ChangeKind::Put(record) => {
            record.ttl_ms != 0 || record.fields.iter().any(|field| field.fill != 0)
        }
        ChangeKind::Unset(_) | ChangeKind::Del(_) | ChangeKind::Inc(_) => false,
        ChangeKind::Append(_) | ChangeKind::Send(_) | ChangeKind::Close(_) => true,
    }
}

/// Whether `text` can be a record id or a field name.
pub(super) fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The key of a change's record.
#[must_use]
pub fn target_key(change: &ChangeKind) -> RecordKey {
    let (collection, id) = target(change);
    RecordKey::new(collection, id)
}
