//! Messages that frames of both directions share. Source of every field: `proto/tidewire.proto`.
#![expect(
    missing_docs,
    reason = "fields are documented once, in docs/protocol.md and the .proto"
)]

use bytes::Bytes;
use prost::{Message, Oneof};

/// A position in one channel's history. Ordered by (epoch, seq); `tag` is a running hash of the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Cursor {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub tag: u64,
}

impl Cursor {
    /// Builds a cursor.
    #[must_use]
    pub const fn new(epoch: u64, seq: u64, tag: u64) -> Self {
        Self { epoch, seq, tag }
    }

    /// What cursors are compared by (docs/protocol.md §2).
    #[must_use]
    pub const fn order(&self) -> (u64, u64) {
        (self.epoch, self.seq)
    }
}

/// A field of a record; `value` is JSON text.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Field {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Field {
    /// Name and value.
    pub(crate) fn parts(&self) -> (&str, &[u8]) {
        (&self.name, &self.value)
    }
}

/// A whole record, or the fields of one that a `set` touches.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Record {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, repeated, tag = "3")]
    pub fields: Vec<Field>,
}

/// Names a record.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct RecordRef {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
}

/// One intent of a mutation.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Change {
    /// `None`: an op this version does not know, refused with `invalid`.
    #[prost(oneof = "ChangeKind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<ChangeKind>,
}

/// The five intents (docs/protocol.md §1).
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum ChangeKind {
    #[prost(message, tag = "1")]
    Set(Record),
    #[prost(message, tag = "2")]
    Unset(Unset),
    #[prost(message, tag = "3")]
    Put(Record),
    #[prost(message, tag = "4")]
    Del(RecordRef),
    #[prost(message, tag = "5")]
    Inc(Inc),
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Unset {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, repeated, tag = "3")]
    pub fields: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Inc {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub field: String,
    #[prost(sint64, tag = "4")]
    pub by: i64,
}

/// One absolute result, what a log entry consists of.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Op {
    /// `None`: an op this version does not know; the connection ends with `unknown_frame`.
    #[prost(oneof = "OpKind", tags = "1, 2, 3, 4")]
    pub kind: Option<OpKind>,
}

/// The four results.
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum OpKind {
    #[prost(message, tag = "1")]
    Put(Record),
    #[prost(message, tag = "2")]
    Merge(Merge),
    #[prost(message, tag = "3")]
    Del(RecordRef),
    #[prost(message, tag = "4")]
    Clear(Clear),
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Merge {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, repeated, tag = "3")]
    pub fields: Vec<Field>,
    #[prost(string, repeated, tag = "4")]
    pub unset: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Clear {}

/// The subscriber's own row of the server's table.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Known {
    #[prost(uint64, tag = "1")]
    pub last: u64,
    #[prost(message, repeated, tag = "2")]
    pub rejected: Vec<Rejected>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Rejected {
    #[prost(uint64, tag = "1")]
    pub n: u64,
    #[prost(uint32, tag = "2")]
    pub code: u32,
    #[prost(string, tag = "3")]
    pub detail: String,
}

/// A mutation that the log holds; `code` 0 means committed.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Mid {
    #[prost(bytes = "bytes", tag = "1")]
    pub author: Bytes,
    #[prost(uint64, tag = "2")]
    pub n: u64,
    #[prost(uint32, tag = "3")]
    pub code: u32,
    #[prost(string, tag = "4")]
    pub detail: String,
}

/// Limits of a connection, as the server states them in `welcome`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Limits {
    #[prost(uint32, tag = "1")]
    pub frame_up_bytes: u32,
    #[prost(uint32, tag = "2")]
    pub frame_down_bytes: u32,
    #[prost(uint32, tag = "3")]
    pub mutation_bytes: u32,
    #[prost(uint32, tag = "4")]
    pub push_items: u32,
    #[prost(uint32, tag = "5")]
    pub push_bytes: u32,
    #[prost(uint32, tag = "6")]
    pub subscriptions: u32,
    #[prost(uint32, tag = "7")]
    pub presence_bytes: u32,
    #[prost(uint32, tag = "8")]
    pub record_bytes: u32,
}
