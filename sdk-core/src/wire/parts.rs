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
    /// Not 0: the server makes the value of a change. No number is in use yet.
    #[prost(uint32, tag = "3")]
    pub fill: u32,
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
    /// Of a change: how long the record is to live. Not in use yet.
    #[prost(uint64, tag = "4")]
    pub ttl_ms: u64,
    /// Of an op or a part of a snapshot: when the record ends. Not in use yet.
    #[prost(uint64, tag = "5")]
    pub expires_ms: u64,
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
    /// `None`: a change that this version does not know, rejected with `unsupported`.
    #[prost(oneof = "ChangeKind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub kind: Option<ChangeKind>,
}

/// The intents. The first five are in use (docs/protocol.md §1); the others are rejected with `unsupported`.
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
    #[prost(message, tag = "6")]
    Append(Append),
    #[prost(message, tag = "7")]
    Send(Send),
    #[prost(message, tag = "8")]
    Close(Close),
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

/// Text to put behind a field that is a JSON string: content of such a string, without its quotes.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Append {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub field: String,
    #[prost(string, tag = "4")]
    pub text: String,
}

/// A message for a stream; `data` is JSON text.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Send {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}

/// The end of a stream for its writers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Close {}

/// One absolute result, what a log entry consists of.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Op {
    /// `None`: an op this version does not know; the connection ends with `unknown_frame`.
    #[prost(oneof = "OpKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<OpKind>,
}

/// The results. The first four are in use; who meets another treats it as one that it does not know.
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
    #[prost(message, tag = "5")]
    Splice(Splice),
    #[prost(message, tag = "6")]
    Message(StreamMessage),
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

/// Text that stands from `at` on in a field that is a JSON string; both count the bytes between its quotes.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Splice {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub field: String,
    #[prost(uint64, tag = "4")]
    pub at: u64,
    #[prost(string, tag = "5")]
    pub text: String,
}

/// One message of a stream, as its log holds it.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct StreamMessage {
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    #[prost(uint64, tag = "2")]
    pub ms: u64,
    #[prost(string, tag = "3")]
    pub principal: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub author: Bytes,
    #[prost(uint64, tag = "5")]
    pub n: u64,
    #[prost(bytes = "bytes", tag = "6")]
    pub data: Bytes,
}

/// The subscriber's own row of the server's table.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Known {
    #[prost(uint64, tag = "1")]
    pub last: u64,
    #[prost(message, repeated, tag = "2")]
    pub rejected: Vec<Rejected>,
    #[prost(bytes = "bytes", tag = "3")]
    pub check: Bytes,
    #[prost(uint64, tag = "4")]
    pub low: u64,
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
    #[prost(bytes = "bytes", tag = "5")]
    pub trace: Bytes,
    #[prost(bytes = "bytes", tag = "6")]
    pub check: Bytes,
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
