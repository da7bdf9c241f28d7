//! Frames that a server sends. Source of every field: `proto/tidewire.proto`.
#![expect(
    missing_docs,
    reason = "fields are documented once, in docs/protocol.md and the .proto"
)]

use bytes::Bytes;
use prost::{Message, Oneof};

use super::client::Pong;
use super::parts::{Cursor, Known, Limits, Mid, Op, Record, StreamMessage};

/// What one message from a server carries.
#[derive(Clone, PartialEq, Message)]
pub struct ServerFrames {
    #[prost(message, repeated, tag = "1")]
    pub frames: Vec<ServerFrame>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ServerFrame {
    /// `None`: unknown to this version, or a client's frame; refused with `unknown_frame`.
    #[prost(
        oneof = "ServerKind",
        tags = "11, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50"
    )]
    pub kind: Option<ServerKind>,
}

/// Every frame that a server may send.
#[derive(Clone, PartialEq, Oneof)]
pub enum ServerKind {
    #[prost(message, tag = "11")]
    Pong(Pong),
    #[prost(message, tag = "32")]
    Welcome(Welcome),
    #[prost(message, tag = "33")]
    Resume(Resume),
    #[prost(message, tag = "34")]
    SnapshotBegin(SnapshotBegin),
    #[prost(message, tag = "35")]
    SnapshotPart(SnapshotPart),
    #[prost(message, tag = "36")]
    SnapshotEnd(SnapshotEnd),
    #[prost(message, tag = "37")]
    Patch(Patch),
    #[prost(message, tag = "38")]
    Ack(Ack),
    #[prost(message, tag = "39")]
    Need(Need),
    #[prost(message, tag = "40")]
    Hold(Hold),
    #[prost(message, tag = "41")]
    StaleEpoch(StaleEpoch),
    #[prost(message, tag = "42")]
    Lagged(Lagged),
    #[prost(message, tag = "43")]
    Reply(Reply),
    #[prost(message, tag = "44")]
    Message(ChannelMessage),
    #[prost(message, tag = "45")]
    Presence(Presence),
    #[prost(message, tag = "46")]
    Goaway(Goaway),
    #[prost(message, tag = "47")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "48")]
    Refreshed(Refreshed),
    #[prost(message, tag = "49")]
    Error(ErrorFrame),
    #[prost(message, tag = "50")]
    Page(Page),
}

impl ServerKind {
    /// The channel that a frame is about, if it is about one.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        Some(match self {
            Self::Resume(f) => &f.channel,
            Self::SnapshotBegin(f) => &f.channel,
            Self::SnapshotPart(f) => &f.channel,
            Self::SnapshotEnd(f) => &f.channel,
            Self::Patch(f) => &f.channel,
            Self::Ack(f) => &f.channel,
            Self::Need(f) => &f.channel,
            Self::Hold(f) => &f.channel,
            Self::StaleEpoch(f) => &f.channel,
            Self::Lagged(f) => &f.channel,
            Self::Message(f) => &f.channel,
            Self::Presence(f) => &f.channel,
            Self::Page(f) => &f.channel,
            Self::Error(f) => return f.channel.as_deref(),
            Self::Pong(_)
            | Self::Welcome(_)
            | Self::Reply(_)
            | Self::Goaway(_)
            | Self::Heartbeat(_)
            | Self::Refreshed(_) => return None,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    #[prost(bytes = "bytes", tag = "1")]
    pub session: Bytes,
    #[prost(string, tag = "2")]
    pub principal: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub author: Bytes,
    #[prost(uint64, tag = "4")]
    pub server_ms: u64,
    #[prost(uint64, tag = "5")]
    pub expires_ms: u64,
    #[prost(message, optional, tag = "6")]
    pub limits: Option<Limits>,
    #[prost(uint32, tag = "7")]
    pub heartbeat_ms: u32,
    #[prost(uint64, tag = "8")]
    pub flags: u64,
    #[prost(fixed32, tag = "9")]
    pub home: u32,
    #[prost(uint32, tag = "10")]
    pub fallback_poll_ms: u32,
    #[prost(string, tag = "11")]
    pub tenant: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resume {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(message, optional, tag = "2")]
    pub from: Option<Cursor>,
    #[prost(message, optional, tag = "3")]
    pub head: Option<Cursor>,
    #[prost(message, optional, tag = "4")]
    pub known: Option<Known>,
    #[prost(bytes = "bytes", tag = "5")]
    pub proof: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct SnapshotBegin {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(message, optional, tag = "2")]
    pub cursor: Option<Cursor>,
    #[prost(message, optional, tag = "3")]
    pub known: Option<Known>,
    #[prost(bytes = "bytes", tag = "4")]
    pub proof: Bytes,
    #[prost(message, optional, tag = "5")]
    pub head: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SnapshotPart {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SnapshotEnd {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub records: u64,
    #[prost(fixed64, tag = "3")]
    pub digest: u64,
    #[prost(message, optional, tag = "4")]
    pub cursor: Option<Cursor>,
}

/// One log entry, or a range of them; `ops` are applied in order.
#[derive(Clone, PartialEq, Message)]
pub struct Patch {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub from: u64,
    #[prost(uint64, tag = "4")]
    pub from_tag: u64,
    #[prost(uint64, tag = "5")]
    pub to: u64,
    #[prost(uint64, tag = "6")]
    pub to_tag: u64,
    #[prost(uint64, tag = "7")]
    pub ms: u64,
    #[prost(message, repeated, tag = "8")]
    pub ops: Vec<Op>,
    #[prost(message, repeated, tag = "9")]
    pub mids: Vec<Mid>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Ack {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub through: u64,
    #[prost(uint64, tag = "3")]
    pub seq: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Need {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub n: u64,
    #[prost(message, optional, tag = "3")]
    pub cursor: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Hold {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint32, tag = "2")]
    pub code: u32,
    #[prost(uint32, tag = "3")]
    pub retry_ms: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct StaleEpoch {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Lagged {
    #[prost(string, tag = "1")]
    pub channel: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Reply {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    #[prost(uint32, tag = "3")]
    pub code: u32,
    #[prost(string, tag = "4")]
    pub detail: String,
    #[prost(uint64, tag = "5")]
    pub server_ms: u64,
}

/// `message` of the protocol: what was published on a broadcast channel.
#[derive(Clone, PartialEq, Message)]
pub struct ChannelMessage {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    #[prost(string, tag = "3")]
    pub principal: String,
    #[prost(message, optional, tag = "4")]
    pub cursor: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Presence {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(bool, tag = "2")]
    pub full: bool,
    #[prost(message, repeated, tag = "3")]
    pub peers: Vec<Peer>,
}

/// `data: None` means: gone.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Peer {
    #[prost(uint64, tag = "1")]
    pub peer: u64,
    #[prost(string, tag = "2")]
    pub principal: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Goaway {
    #[prost(uint32, tag = "1")]
    pub by_ms: u32,
    #[prost(uint32, tag = "2")]
    pub window_ms: u32,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(bool, tag = "4")]
    pub alone: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Heartbeat {
    #[prost(message, repeated, tag = "1")]
    pub heads: Vec<Head>,
    #[prost(uint64, tag = "2")]
    pub server_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Head {
    #[prost(string, tag = "1")]
    pub channel: String,
    #[prost(message, optional, tag = "2")]
    pub cursor: Option<Cursor>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Refreshed {
    #[prost(uint64, tag = "1")]
    pub expires_ms: u64,
}

/// `error` of the protocol. `fatal`: the connection ends after it.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorFrame {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(bool, tag = "2")]
    pub fatal: bool,
    #[prost(string, optional, tag = "3")]
    pub channel: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    pub id: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub n: Option<u64>,
    #[prost(uint32, optional, tag = "6")]
    pub retry_ms: Option<u32>,
    #[prost(string, tag = "7")]
    pub detail: String,
}

/// The answer to a `history`. `code` 0 means fine; `next` absent: nothing is older.
#[derive(Clone, PartialEq, Message)]
pub struct Page {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub channel: String,
    #[prost(message, repeated, tag = "3")]
    pub messages: Vec<StreamMessage>,
    #[prost(message, optional, tag = "4")]
    pub next: Option<Cursor>,
    #[prost(message, optional, tag = "5")]
    pub first: Option<Cursor>,
    #[prost(uint32, tag = "6")]
    pub code: u32,
    #[prost(string, tag = "7")]
    pub detail: String,
}
