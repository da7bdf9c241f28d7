//! The wire format: frames as types, bytes ↔ frames, and the numbers that are never reused.
//!
//! The schema is published as `proto/tidewire.proto`; meaning and limits stand in
//! docs/protocol.md. Client's and server's frames share one `oneof` on the wire and are two enums
//! here, so that a frame of the wrong direction does not even decode.

mod client;
mod code;
mod codec;
mod decode_error;
mod fields;
mod in_place;
mod item;
#[cfg(feature = "json")]
mod json;
mod ops;
mod parts;
mod reading;
mod server;
mod writing;

pub use client::{
    Call, ClientFrame, ClientFrames, ClientKind, Equals, Fetch, Hello, History, Item, Ping, Pong,
    Precondition, PreconditionKind, PresenceSet, Publish, Push, Refresh, Subscribe, Unchanged,
    Unsubscribe,
};
pub use code::{Actor, CloseCode, ErrorCode};
pub(crate) use codec::read_in_place;
pub use codec::{
    Codec, client_message, decode_client, decode_server, encode_client, encode_server,
    server_message,
};
pub use decode_error::DecodeError;
pub(crate) use in_place::{OpInPlace, PartInPlace, PatchInPlace, Received, RecordInPlace};
pub(crate) use item::{EncodedItem, EncodedPush, decode_item, encode_item};
pub use ops::{Ops, OpsWriter, patch_message};
pub use parts::{
    Append, Change, ChangeKind, Clear, Close, Cursor, Field, Inc, Known, Limits, Merge, Mid, Op,
    OpKind, Record, RecordRef, Rejected, Send, Splice, StreamMessage, Unset,
};
pub use server::{
    Ack, ChannelMessage, ErrorFrame, Goaway, Head, Heartbeat, Hold, Lagged, Need, Page, Patch,
    Peer, Presence, Refreshed, Reply, Resume, ServerFrame, ServerFrames, ServerKind, SnapshotBegin,
    SnapshotEnd, SnapshotPart, StaleEpoch, Welcome,
};

/// What `hello.version` says. It moves only when old and new peers cannot talk.
pub const PROTOCOL_VERSION: u32 = 1;

/// The WebSocket subprotocol of the Protobuf codec.
pub const SUBPROTOCOL_PROTO: &str = "tidewire.v1.proto";

/// The WebSocket subprotocol of the JSON codec.
pub const SUBPROTOCOL_JSON: &str = "tidewire.v1.json";

/// `detail` texts are cut to this many bytes.
pub const DETAIL_BYTES_MAX: usize = 200;

/// Bytes of a mutation's `trace`: version, trace id, parent id and flags of a `traceparent`.
pub const TRACE_BYTES: usize = 26;

/// Bytes of a row's `check`.
pub const CHECK_BYTES: usize = 8;

/// Sequence numbers, epochs and tags stay below this, so that JavaScript holds them exactly.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Cuts a reason to what fits on the wire, at a character boundary.
#[must_use]
pub fn cut_detail(mut detail: String) -> String {
    if detail.len() > DETAIL_BYTES_MAX {
        let mut end = DETAIL_BYTES_MAX;
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
    }
    detail
}

impl Limits {
    /// What both sides assume until `welcome` says otherwise. Reasons: docs/defaults.md.
    pub const DEFAULT: Self = Self {
        frame_up_bytes: 128 * 1024,
        frame_down_bytes: 1024 * 1024,
        mutation_bytes: 64 * 1024,
        push_items: 256,
        push_bytes: 64 * 1024,
        subscriptions: 1000,
        presence_bytes: 4 * 1024,
        record_bytes: 256 * 1024,
    };
}
