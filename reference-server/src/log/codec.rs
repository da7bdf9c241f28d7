//! Entries and snapshots as the disk broker stores them, for brokers outside of this crate too.
//!
//! Invariant: what was encoded decodes to the same, or is an error; tags do not depend on this form.
//! A change that older servers cannot read raises `FORMAT`; adding an optional field does not.

use prost::{Message, Oneof};
use tidewire_core::document::{Document, Rejection, put_op};
use tidewire_core::wire::{Cursor, ErrorCode, Op, Record};

use super::{Author, Entry, EntryBody, RunId, Snapshot, TableRow};

/// The version of everything in a data directory. 1 had no deadlines: its tags do not cover them.
#[cfg(feature = "net")]
pub(crate) const FORMAT: u64 = 2;

/// Stored bytes are not what this version writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not Protobuf, or not this schema.
    #[error("not a stored message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Something without which it means nothing is not there.
    #[error("stored message without its {0}")]
    Missing(&'static str),
    /// A rejection of a later version.
    #[error("stored code {0} is not one of this version")]
    UnknownCode(u32),
}

#[derive(Clone, PartialEq, Message)]
struct StoredEntry {
    #[prost(message, optional, tag = "1")]
    cursor: Option<Cursor>,
    #[prost(uint64, tag = "2")]
    ms: u64,
    #[prost(fixed64, tag = "3")]
    run: u64,
    #[prost(oneof = "StoredBody", tags = "4, 5, 6")]
    body: Option<StoredBody>,
}

#[derive(Clone, PartialEq, Oneof)]
enum StoredBody {
    #[prost(message, tag = "4")]
    Opening(StoredOps),
    #[prost(message, tag = "5")]
    Mutation(StoredMutation),
    #[prost(message, tag = "6")]
    Deletion(StoredDeletion),
}

#[derive(Clone, PartialEq, Message)]
struct StoredOps {
    #[prost(message, repeated, tag = "1")]
    ops: Vec<Op>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMutation {
    #[prost(bytes = "vec", tag = "1")]
    author: Vec<u8>,
    #[prost(uint64, tag = "2")]
    n: u64,
    #[prost(uint64, tag = "3")]
    low: u64,
    #[prost(message, repeated, tag = "4")]
    ops: Vec<Op>,
    /// 0: committed.
    #[prost(uint32, tag = "5")]
    code: u32,
    #[prost(string, tag = "6")]
    detail: String,
    #[prost(uint64, tag = "7")]
    deadline_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredDeletion {}

#[derive(Clone, PartialEq, Message)]
struct StoredSnapshot {
    #[prost(message, optional, tag = "1")]
    cursor: Option<Cursor>,
    #[prost(uint64, tag = "2")]
    ms: u64,
    #[prost(bool, tag = "3")]
    deleted: bool,
    #[prost(message, repeated, tag = "4")]
    records: Vec<Record>,
    #[prost(message, repeated, tag = "5")]
    table: Vec<StoredRow>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRow {
    #[prost(bytes = "vec", tag = "1")]
    author: Vec<u8>,
    #[prost(uint64, tag = "2")]
    last: u64,
    #[prost(message, repeated, tag = "3")]
    rejected: Vec<StoredRejection>,
    #[prost(uint64, tag = "4")]
    deadline_max: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredRejection {
    #[prost(uint64, tag = "1")]
    n: u64,
    #[prost(uint32, tag = "2")]
    code: u32,
    #[prost(string, tag = "3")]
    detail: String,
}

/// An entry as bytes.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let body = match &entry.body {
        EntryBody::Opening { ops } => StoredBody::Opening(StoredOps { ops: ops.clone() }),
        EntryBody::Mutation {
            author,
            n,
            low,
            deadline_ms,
            outcome,
        } => {
            let mut stored = StoredMutation {
                author: author.0.to_vec(),
                n: *n,
                low: *low,
                deadline_ms: *deadline_ms,
                ..StoredMutation::default()
            };
            match outcome {
                Ok(ops) => stored.ops.clone_from(ops),
                Err(rejection) => {
                    stored.code = rejection.code as u32;
                    stored.detail.clone_from(&rejection.detail);
                }
            }
            StoredBody::Mutation(stored)
        }
        EntryBody::Deletion => StoredBody::Deletion(StoredDeletion {}),
    };
    StoredEntry {
        cursor: Some(entry.cursor),
        ms: entry.ms,
        run: entry.run.0,
        body: Some(body),
    }
    .encode_to_vec()
}

/// Reads what [`encode_entry`] wrote.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let stored = StoredEntry::decode(bytes)?;
    let body = match stored.body.ok_or(DecodeError::Missing("body"))? {
        StoredBody::Opening(opening) => EntryBody::Opening { ops: opening.ops },
        StoredBody::Mutation(mutation) => EntryBody::Mutation {
            author: author(&mutation.author)?,
            n: mutation.n,
            low: mutation.low,
            deadline_ms: mutation.deadline_ms,
            outcome: if mutation.code == 0 {
                Ok(mutation.ops)
            } else {
                Err(rejection(mutation.code, mutation.detail)?)
            },
        },
        StoredBody::Deletion(_) => EntryBody::Deletion,
    };
    Ok(Entry {
        cursor: stored.cursor.ok_or(DecodeError::Missing("cursor"))?,
        ms: stored.ms,
        run: RunId(stored.run),
        body,
    })
}

/// A snapshot as bytes.
#[must_use]
pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    StoredSnapshot {
        cursor: Some(snapshot.cursor),
        ms: snapshot.ms,
        deleted: snapshot.deleted,
        records: snapshot
            .document
            .records()
            .map(|(collection, id, record)| record.to_wire(collection, id))
            .collect(),
        table: snapshot
            .table
            .iter()
            .map(|(author, row)| StoredRow {
                author: author.0.to_vec(),
                last: row.last,
                deadline_max: row.deadline_max,
                rejected: row
                    .rejected
                    .iter()
                    .map(|(n, rejection)| StoredRejection {
                        n: *n,
                        code: rejection.code as u32,
                        detail: rejection.detail.clone(),
                    })
                    .collect(),
            })
            .collect(),
    }
    .encode_to_vec()
}

/// Reads what [`encode_snapshot`] wrote.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    let stored = StoredSnapshot::decode(bytes)?;
    let mut document = Document::default();
    for record in stored.records {
        document.apply(&put_op(record));
    }
    let table = stored
        .table
        .into_iter()
        .map(|row| {
            let rejected = row
                .rejected
                .into_iter()
                .map(|stored| Ok((stored.n, rejection(stored.code, stored.detail)?)))
                .collect::<Result<_, DecodeError>>()?;
            let decoded = TableRow {
                last: row.last,
                rejected,
                deadline_max: row.deadline_max,
            };
            Ok((author(&row.author)?, decoded))
        })
        .collect::<Result<_, DecodeError>>()?;
    Ok(Snapshot {
        cursor: stored.cursor.ok_or(DecodeError::Missing("cursor"))?,
        ms: stored.ms,
        deleted: stored.deleted,
        document,
        table,
    })
}

fn author(bytes: &[u8]) -> Result<Author, DecodeError> {
    bytes
        .try_into()
        .map(Author)
        .map_err(|_| DecodeError::Missing("author"))
}

fn rejection(code: u32, detail: String) -> Result<Rejection, DecodeError> {
    let code = ErrorCode::from_number(code).ok_or(DecodeError::UnknownCode(code))?;
    Ok(Rejection::new(code, detail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use tidewire_core::wire::{Clear, Field, OpKind};

    fn bodies() -> Vec<EntryBody> {
        let author = Author([7; 16]);
        let put = put_op(Record {
            collection: "c".into(),
            id: "i".into(),
            fields: vec![Field {
                name: "f".into(),
                value: "1".into(),
            }],
        });
        let clear = Op {
            kind: Some(OpKind::Clear(Clear {})),
        };
        let mutation = |outcome| EntryBody::Mutation {
            author,
            n: 3,
            low: 2,
            deadline_ms: 1_795_000_000_000,
            outcome,
        };
        vec![
            EntryBody::Opening { ops: Vec::new() },
            EntryBody::Opening {
                ops: vec![put.clone()],
            },
            mutation(Ok(vec![put, clear])),
            mutation(Ok(Vec::new())),
            mutation(Err(Rejection::new(ErrorCode::NotFound, "gone"))),
            EntryBody::Deletion,
        ]
    }

    #[test]
    fn entries_come_back_as_they_were() {
        for body in bodies() {
            let entry = Entry {
                cursor: Cursor::new(9, 8, 7),
                ms: 6,
                run: RunId(u64::MAX),
                body,
            };
            assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
    }

    #[test]
    fn snapshots_come_back_as_they_were() {
        let mut snapshot = Snapshot {
            cursor: Cursor::new(9, 8, 7),
            ms: 6,
            deleted: true,
            ..Snapshot::default()
        };
        snapshot.table.push((
            Author([1; 16]),
            TableRow {
                last: 5,
                rejected: vec![(4, Rejection::new(ErrorCode::Invalid, "no"))],
                deadline_max: 1_795_000_000_000,
            },
        ));
        for body in bodies() {
            if let EntryBody::Opening { ops } = body {
                for op in &ops {
                    snapshot.document.apply(op);
                }
            }
        }
        assert_eq!(decode_snapshot(&encode_snapshot(&snapshot)), Ok(snapshot));
    }

    proptest! {
        #[test]
        fn rotten_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_entry(&bytes);
            let _ = decode_snapshot(&bytes);
        }
    }
}
