//! Frames that a client sends. Source of every field: `proto/tidewire.proto`.
#![expect(
    missing_docs,
    reason = "fields are documented once, in docs/protocol.md and the .proto"
)]

use bytes::Bytes;
use prost::{Message, Oneof};

use super::parts::{Change, Cursor, RecordRef};

/// What one message from a client carries.
#[derive(Clone, PartialEq, Message)]
pub struct ClientFrames {
    #[prost(message, repeated, tag = "1")]
    pub frames: Vec<ClientFrame>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ClientFrame {
    /// `None`: unknown to this version, or a server's frame; refused with `unknown_frame`.
    #[prost(oneof = "ClientKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub kind: Option<ClientKind>,
}

/// Every frame that a client may send.
#[derive(Clone, PartialEq, Oneof)]
pub enum ClientKind {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Subscribe(Subscribe),
    #[prost(message, tag = "3")]
    Unsubscribe(Unsubscribe),
    #[prost(message, tag = "4")]
    Fetch(Fetch),
    #[prost(message, tag = "5")]
    Push(Push),
    #[prost(message, tag = "6")]
    Call(Call),
    #[prost(message, tag = "7")]
    Publish(Publish),
    #[prost(message, tag = "8")]
    PresenceSet(PresenceSet),
    #[prost(message, tag = "9")]
    Refresh(Refresh),
    #[prost(message, tag = "10")]
    Ping(Ping),
    #[prost(message, tag = "11")]
    Pong(Pong),
    #[prost(message, tag = "12")]
    History(History),
}

#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(uint64, tag = "3")]
    pub conn: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub client: Bytes,
    #[prost(uint32, tag = "5")]
    pub max_frame: u32,
    #[prost(bytes = "bytes", tag = "6")]
    pub session: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub continues: Bytes,
    #[prost(uint32, tag = "8")]
    pub poll: u32,
    #[prost(bytes = "bytes", tag = "9")]
    pub expect_author: Bytes,
    #[prost(uint32, tag = "10")]
    pub schema: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Subscribe {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(message, optional, tag = "2")]
    pub have: Option<Cursor>,
    #[prost(uint64, tag = "3")]
    pub max_epoch: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub proof: Bytes,
    #[prost(uint32, optional, tag = "5")]
    pub tail: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Unsubscribe {
    #[prost(string, tag = "1")]
    pub channel: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Fetch {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub after: u64,
    #[prost(uint64, tag = "4")]
    pub through: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Push {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub first_n: u64,
    #[prost(uint64, tag = "4")]
    pub low: u64,
    #[prost(message, repeated, tag = "5")]
    pub items: Vec<Item>,
}

/// One mutation of a push: all its changes, or none.
#[derive(Clone, PartialEq, Message)]
pub struct Item {
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<Change>,
    #[prost(bool, tag = "2")]
    pub noop: bool,
    #[prost(message, repeated, tag = "3")]
    pub pre: Vec<Precondition>,
    #[prost(uint64, tag = "4")]
    pub deadline_ms: u64,
    #[prost(uint64, tag = "5")]
    pub after: u64,
    #[prost(bytes = "bytes", tag = "6")]
    pub trace: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    pub check: Bytes,
    #[prost(uint32, tag = "8")]
    pub schema: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Precondition {
    #[prost(oneof = "PreconditionKind", tags = "1, 2, 3, 4")]
    pub kind: Option<PreconditionKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum PreconditionKind {
    #[prost(message, tag = "1")]
    Exists(RecordRef),
    #[prost(message, tag = "2")]
    Absent(RecordRef),
    #[prost(message, tag = "3")]
    Eq(Equals),
    #[prost(message, tag = "4")]
    Unchanged(Unchanged),
}

#[derive(Clone, PartialEq, Message)]
pub struct Equals {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub field: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct Unchanged {
    #[prost(string, tag = "1")]
    pub collection: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(message, optional, tag = "3")]
    pub since: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Call {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub route: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub args: Bytes,
    #[prost(uint32, tag = "4")]
    pub timeout_ms: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Publish {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    #[prost(uint64, tag = "3")]
    pub to: u64,
}

/// `data: None` means: no longer present.
#[derive(Clone, PartialEq, Message)]
pub struct PresenceSet {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Refresh {
    #[prost(string, tag = "1")]
    pub token: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Ping {
    #[prost(uint64, tag = "1")]
    pub t: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Pong {
    #[prost(uint64, tag = "1")]
    pub t: u64,
}

/// A page of a stream's messages, the newest before `before`. Answered by `page`.
#[derive(Clone, PartialEq, Message)]
pub struct History {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub channel: String,
    #[prost(message, optional, tag = "3")]
    pub before: Option<Cursor>,
    #[prost(uint32, tag = "4")]
    pub limit: u32,
}
