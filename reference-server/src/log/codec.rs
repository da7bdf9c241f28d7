//! Entries and snapshots as brokers store them, those outside of this crate too.
//!
//! Invariant: what was encoded decodes to the same, or is an error; an entry's ops are stored as they are.
//! Tags do not depend on this form. A change that older servers cannot read raises `FORMAT`; adding an
//! optional field does not.

use bytes::Bytes;
use prost::{Message, Oneof};
use tidewire_core::document::{Document, RecordKey, Rejection, put_op};
use tidewire_core::wire::{Cursor, ErrorCode, Ops, Record};

use super::{Author, Check, Entry, EntryBody, LogKind, RunId, Snapshot, TableRow, Trace};

/// The version of everything in a data directory. 1 had no deadlines: its tags do not cover them. 2 hashed
/// ops one by one, and knew only one kind of log.
#[cfg(feature = "net")]
pub(crate) const FORMAT: u64 = 3;

/// Stored bytes are not what this version writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not Protobuf, or not this schema.
    #[error("not a stored message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// An entry's ops are not ops.
    #[error("stored ops: {0}")]
    Ops(#[from] tidewire_core::wire::DecodeError),
    /// Something without which it means nothing is not there.
    #[error("stored message without its {0}")]
    Missing(&'static str),
    /// A rejection of a later version.
    #[error("stored code {0} is not one of this version")]
    UnknownCode(u32),
    /// The parts of a snapshot are not those that it was committed with.
    #[error("the stored parts are not those of the snapshot")]
    Parts,
    /// What only a later version writes.
    #[error("stored {0} are of a later version")]
    Later(&'static str),
    /// A log of a later version.
    #[error("stored log kind {0} is not one of this version")]
    UnknownKind(u32),
}

#[derive(Clone, PartialEq, Message)]
struct StoredEntry {
    #[prost(message, optional, tag = "1")]
    cursor: Option<Cursor>,
    #[prost(uint64, tag = "2")]
    ms: u64,
    #[prost(fixed64, tag = "3")]
    run: u64,
    #[prost(oneof = "StoredBody", tags = "4, 5, 6, 8, 9, 10")]
    body: Option<StoredBody>,
    #[prost(uint64, tag = "7")]
    previous_tag: u64,
}

#[derive(Clone, PartialEq, Oneof)]
enum StoredBody {
    #[prost(message, tag = "4")]
    Opening(StoredOpening),
    #[prost(message, tag = "5")]
    Mutation(StoredMutation),
    #[prost(message, tag = "6")]
    Deletion(StoredNothing),
    #[prost(message, tag = "8")]
    Keyed(StoredKeyed),
    #[prost(message, tag = "9")]
    Expiry(StoredExpiry),
    #[prost(message, tag = "10")]
    Close(StoredNothing),
}

/// `ops` is a run of `Patch.ops` here and below.
#[derive(Clone, PartialEq, Message)]
struct StoredOpening {
    #[prost(bytes = "bytes", tag = "1")]
    ops: Bytes,
    #[prost(uint32, tag = "2")]
    kind: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMutation {
    #[prost(bytes = "vec", tag = "1")]
    author: Vec<u8>,
    #[prost(uint64, tag = "2")]
    n: u64,
    #[prost(uint64, tag = "3")]
    low: u64,
    #[prost(bytes = "bytes", tag = "4")]
    ops: Bytes,
    /// 0: committed.
    #[prost(uint32, tag = "5")]
    code: u32,
    #[prost(string, tag = "6")]
    detail: String,
    #[prost(uint64, tag = "7")]
    deadline_ms: u64,
    #[prost(uint32, tag = "8")]
    schema: u32,
    #[prost(bytes = "vec", optional, tag = "9")]
    check: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    trace: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredKeyed {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    body_hash: Vec<u8>,
    #[prost(uint64, tag = "3")]
    expires_ms: u64,
    #[prost(bytes = "bytes", tag = "4")]
    ops: Bytes,
    #[prost(uint32, tag = "5")]
    code: u32,
    #[prost(string, tag = "6")]
    detail: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredExpiry {
    #[prost(bytes = "bytes", tag = "1")]
    ops: Bytes,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct StoredNothing {}

#[derive(Clone, PartialEq, Message)]
struct SnapshotMessage {
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
    #[prost(uint32, tag = "6")]
    kind: u32,
    /// Reserved: of streams that number what they send.
    #[prost(message, repeated, tag = "7")]
    producers: Vec<StoredProducer>,
    /// Reserved: keys of the HTTP API that are still remembered.
    #[prost(message, repeated, tag = "8")]
    keys: Vec<StoredKeyed>,
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
    #[prost(uint64, tag = "5")]
    low: u64,
    #[prost(bytes = "vec", optional, tag = "6")]
    check: Option<Vec<u8>>,
    #[prost(uint64, tag = "7")]
    forgotten: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredProducer {
    #[prost(bytes = "vec", tag = "1")]
    producer: Vec<u8>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    last_seq: u64,
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
        EntryBody::Opening { kind, ops } => StoredBody::Opening(StoredOpening {
            ops: ops.bytes().clone(),
            kind: stored_kind(*kind),
        }),
        EntryBody::Mutation {
            author,
            n,
            low,
            deadline_ms,
            schema,
            check,
            trace,
            outcome,
        } => {
            let (ops, code, detail) = stored_outcome(outcome);
            StoredBody::Mutation(StoredMutation {
                author: author.0.to_vec(),
                n: *n,
                low: *low,
                ops,
                code,
                detail,
                deadline_ms: *deadline_ms,
                schema: *schema,
                check: check.map(|check| check.to_vec()),
                trace: trace.as_ref().map(|trace| trace.to_vec()),
            })
        }
        EntryBody::Deletion => StoredBody::Deletion(StoredNothing {}),
        EntryBody::Keyed {
            key,
            body_hash,
            expires_ms,
            outcome,
        } => {
            let (ops, code, detail) = stored_outcome(outcome);
            StoredBody::Keyed(StoredKeyed {
                key: key.clone(),
                body_hash: body_hash.to_vec(),
                expires_ms: *expires_ms,
                ops,
                code,
                detail,
            })
        }
        EntryBody::Expiry { ops } => StoredBody::Expiry(StoredExpiry {
            ops: ops.bytes().clone(),
        }),
        EntryBody::Close => StoredBody::Close(StoredNothing {}),
    };
    StoredEntry {
        cursor: Some(entry.cursor),
        ms: entry.ms,
        run: entry.run.0,
        body: Some(body),
        previous_tag: entry.previous_tag,
    }
    .encode_to_vec()
}

/// Reads what [`encode_entry`] wrote.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let stored = StoredEntry::decode(bytes)?;
    let body = match stored.body.ok_or(DecodeError::Missing("body"))? {
        StoredBody::Opening(opening) => EntryBody::Opening {
            kind: kind(opening.kind)?,
            ops: Ops::read(opening.ops)?,
        },
        StoredBody::Mutation(mutation) => EntryBody::Mutation {
            author: author(&mutation.author)?,
            n: mutation.n,
            low: mutation.low,
            deadline_ms: mutation.deadline_ms,
            schema: mutation.schema,
            check: mutation.check.as_deref().map(check).transpose()?,
            trace: mutation.trace.as_deref().map(trace).transpose()?,
            outcome: outcome(mutation.ops, mutation.code, mutation.detail)?,
        },
        StoredBody::Deletion(_) => EntryBody::Deletion,
        StoredBody::Keyed(keyed) => EntryBody::Keyed {
            body_hash: sized(&keyed.body_hash, "body hash")?,
            key: keyed.key,
            expires_ms: keyed.expires_ms,
            outcome: outcome(keyed.ops, keyed.code, keyed.detail)?,
        },
        StoredBody::Expiry(expiry) => EntryBody::Expiry {
            ops: Ops::read(expiry.ops)?,
        },
        StoredBody::Close(_) => EntryBody::Close,
    };
    Ok(Entry {
        cursor: stored.cursor.ok_or(DecodeError::Missing("cursor"))?,
        previous_tag: stored.previous_tag,
        ms: stored.ms,
        run: RunId(stored.run),
        body,
    })
}

/// Encodes a snapshot part by part, whatever it weighs as a whole.
#[derive(Debug)]
pub(super) struct PartWriter {
    snapshot: Snapshot,
    part_bytes: usize,
    place: Place,
}

/// What the next part begins with.
#[derive(Debug)]
enum Place {
    Start,
    /// The records after this one.
    After(RecordKey),
    /// The rows from this one on.
    Rows(usize),
    End,
}

impl PartWriter {
    pub(super) const fn new(snapshot: Snapshot, part_bytes: usize) -> Self {
        Self {
            snapshot,
            part_bytes,
            place: Place::Start,
        }
    }

    /// Parts are messages of the same schema: one after the other they are the whole.
    pub(super) fn next_part(&mut self) -> Option<Bytes> {
        let place = std::mem::replace(&mut self.place, Place::End);
        let snapshot = &self.snapshot;
        let mut part = SnapshotMessage::default();
        let mut bytes = 0;
        let mut row_at = 0;
        let records: Box<dyn Iterator<Item = _>> = match &place {
            Place::Start => {
                part.cursor = Some(snapshot.cursor);
                part.ms = snapshot.ms;
                part.deleted = snapshot.deleted;
                part.kind = stored_kind(snapshot.kind);
                bytes += HEADER_BYTES;
                Box::new(snapshot.document.records())
            }
            Place::After(key) => {
                Box::new(snapshot.document.records_after(&key.collection, &key.id))
            }
            Place::Rows(at) => {
                row_at = *at;
                Box::new(std::iter::empty())
            }
            Place::End => return None,
        };
        for (collection, id, record) in records {
            let record = record.to_wire(collection, id);
            let size = record.encoded_len() + FIELD_BYTES;
            // The record that is too much begins the next part: it comes after the last one here.
            if bytes + size > self.part_bytes && !part.records.is_empty() {
                let last = &part.records[part.records.len() - 1];
                self.place = Place::After(RecordKey::new(&last.collection, &last.id));
                return Some(part.encode_to_vec().into());
            }
            bytes += size;
            part.records.push(record);
        }
        for (author, row) in &snapshot.table[row_at..] {
            let row = stored_row(author, row);
            let size = row.encoded_len() + FIELD_BYTES;
            if bytes + size > self.part_bytes && bytes > 0 {
                self.place = Place::Rows(row_at);
                return Some(part.encode_to_vec().into());
            }
            bytes += size;
            row_at += 1;
            part.table.push(row);
        }
        Some(part.encode_to_vec().into())
    }
}

/// Key and length of a record or row in a part, and what a first part begins with, at their longest.
const FIELD_BYTES: usize = 6;
const HEADER_BYTES: usize = 64;

fn stored_row(author: &Author, row: &TableRow) -> StoredRow {
    StoredRow {
        author: author.0.to_vec(),
        last: row.last,
        deadline_max: row.deadline_max,
        low: row.low,
        forgotten: row.forgotten,
        check: row.check.map(|check| check.to_vec()),
        rejected: row
            .rejected
            .iter()
            .map(|(n, rejection)| StoredRejection {
                n: *n,
                code: rejection.code as u32,
                detail: rejection.detail.clone(),
            })
            .collect(),
    }
}

/// Reads the parts of a snapshot, from the first one on. [`super::StoredSnapshot::read`] also asks whether
/// they are all there.
pub fn decode_parts(parts: &[Bytes]) -> Result<Snapshot, DecodeError> {
    let mut snapshot = Snapshot::default();
    let mut document = Document::default();
    for (at, part) in parts.iter().enumerate() {
        let stored = SnapshotMessage::decode(part.clone())?;
        if !stored.producers.is_empty() || !stored.keys.is_empty() {
            return Err(DecodeError::Later("rows of producers or keys"));
        }
        if at == 0 {
            snapshot.cursor = stored.cursor.ok_or(DecodeError::Missing("cursor"))?;
            snapshot.ms = stored.ms;
            snapshot.deleted = stored.deleted;
            snapshot.kind = kind(stored.kind)?;
        }
        for record in stored.records {
            document.apply(&put_op(record));
        }
        for row in stored.table {
            let rejected = row.rejected.into_iter();
            let rejected = rejected.map(|r| Ok((r.n, rejection(r.code, r.detail)?)));
            let decoded = TableRow {
                last: row.last,
                rejected: rejected.collect::<Result<_, DecodeError>>()?,
                deadline_max: row.deadline_max,
                low: row.low,
                forgotten: row.forgotten,
                check: row.check.as_deref().map(check).transpose()?,
            };
            snapshot.table.push((author(&row.author)?, decoded));
        }
    }
    snapshot.document = document.into();
    Ok(snapshot)
}

fn author(bytes: &[u8]) -> Result<Author, DecodeError> {
    sized(bytes, "author").map(Author)
}

fn check(bytes: &[u8]) -> Result<Check, DecodeError> {
    sized(bytes, "check")
}

fn trace(bytes: &[u8]) -> Result<Trace, DecodeError> {
    sized(bytes, "trace").map(Box::new)
}

/// Bytes of a length that never changes.
fn sized<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Missing(what))
}

const fn stored_kind(kind: LogKind) -> u32 {
    match kind {
        LogKind::State => 1,
        LogKind::Stream => 2,
    }
}

fn kind(stored: u32) -> Result<LogKind, DecodeError> {
    match stored {
        1 => Ok(LogKind::State),
        2 => Ok(LogKind::Stream),
        other => Err(DecodeError::UnknownKind(other)),
    }
}

fn stored_outcome(outcome: &Result<Ops, Rejection>) -> (Bytes, u32, String) {
    match outcome {
        Ok(ops) => (ops.bytes().clone(), 0, String::new()),
        Err(rejection) => (
            Bytes::new(),
            rejection.code as u32,
            rejection.detail.clone(),
        ),
    }
}

fn outcome(ops: Bytes, code: u32, detail: String) -> Result<Result<Ops, Rejection>, DecodeError> {
    Ok(if code == 0 {
        Ok(Ops::read(ops)?)
    } else {
        Err(rejection(code, detail)?)
    })
}

fn rejection(code: u32, detail: String) -> Result<Rejection, DecodeError> {
    let code = ErrorCode::from_number(code).ok_or(DecodeError::UnknownCode(code))?;
    Ok(Rejection::new(code, detail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use tidewire_core::wire::{Clear, Field, Op, OpKind};

    fn bodies() -> Vec<EntryBody> {
        let author = Author([7; 16]);
        let put = put_op(Record {
            collection: "c".into(),
            id: "i".into(),
            fields: vec![Field {
                name: "f".into(),
                value: "1".into(),
                ..Field::default()
            }],
            ..Record::default()
        });
        let clear = Op {
            kind: Some(OpKind::Clear(Clear {})),
        };
        let mutation = |outcome| EntryBody::Mutation {
            author,
            n: 3,
            low: 2,
            deadline_ms: 1_795_000_000_000,
            schema: 3,
            check: Some([9; 8]),
            trace: Some(Box::new([5; 26])),
            outcome,
        };
        let keyed = |outcome| EntryBody::Keyed {
            key: b"billing\0k1".to_vec(),
            body_hash: [6; 32],
            expires_ms: 4,
            outcome,
        };
        let gone = || Rejection::new(ErrorCode::NotFound, "gone");
        vec![
            EntryBody::opening(Ops::default()),
            EntryBody::opening(Ops::new([&put])),
            EntryBody::Opening {
                kind: LogKind::Stream,
                ops: Ops::default(),
            },
            mutation(Ok(Ops::new([&put, &clear]))),
            mutation(Ok(Ops::default())),
            mutation(Err(gone())),
            EntryBody::Deletion,
            keyed(Ok(Ops::new([&put]))),
            keyed(Err(gone())),
            EntryBody::Expiry {
                ops: Ops::new([&clear]),
            },
            EntryBody::Close,
        ]
    }

    #[test]
    fn entries_come_back_as_they_were() {
        for body in bodies() {
            let entry = Entry {
                cursor: Cursor::new(9, 8, 7),
                previous_tag: 11,
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
                low: 3,
                forgotten: 2,
                check: Some([8; 8]),
            },
        ));
        for body in bodies() {
            if let EntryBody::Opening { ops, .. } = body {
                std::sync::Arc::make_mut(&mut snapshot.document).apply_run(&ops, |_, _, _| {});
            }
        }
        let stored = crate::log::StoredSnapshot::encode(snapshot.clone(), 100);
        assert_eq!(stored.read(), Ok(snapshot));
    }

    proptest! {
        #[test]
        fn rotten_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_entry(&bytes);
            let _ = decode_parts(&[bytes.into()]);
        }
    }
}
