//! The client's codec: each message's fields by number and type, as in `proto/tidewire.proto`.
//!
//! The server's codec is what `prost` derives from the types themselves. So the two ends do not share
//! their mistakes: whatever they say to each other was written by one and read by the other.

use super::reading::{Malformed, Read, Value};
use super::writing::{Write, Writer};
use super::{
    Ack, Append, Call, Change, ChangeKind, ChannelMessage, Clear, ClientFrame, ClientKind, Close,
    Cursor, Equals, ErrorFrame, Fetch, Field, Goaway, Head, Heartbeat, Hello, History, Hold, Inc,
    Item, Known, Lagged, Limits, Merge, Mid, Need, Op, OpKind, Page, Patch, Peer, Ping, Pong,
    Precondition, PreconditionKind, Presence, PresenceSet, Publish, Push, Record, RecordRef,
    Refresh, Refreshed, Rejected, Reply, Resume, Send, ServerFrame, ServerKind, SnapshotBegin,
    SnapshotEnd, SnapshotPart, Splice, StaleEpoch, StreamMessage, Subscribe, Unchanged, Unset,
    Unsubscribe, Welcome,
};

/// `number field type`: what [`Value`] and [`Writer`] call the type.
macro_rules! fields {
    ($($message:ident { $($number:literal $field:ident $kind:ident),* })*) => { $(
        impl Read for $message {
            fn read(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed> {
                match number {
                    $($number => value.$kind(&mut self.$field),)*
                    _ => Ok(()),
                }
            }
        }

        impl Write for $message {
            fn write(&self, out: &mut Writer) {
                $(out.$kind($number, &self.$field);)*
            }
        }
    )* };
}

/// `number variant`: a message whose only field is a oneof.
macro_rules! one_of {
    ($($message:ident $kind:ident { $($number:literal $variant:ident),* })*) => { $(
        impl Read for $message {
            fn read(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed> {
                self.kind = Some(match number {
                    $($number => $kind::$variant(value.kind()?),)*
                    _ => return Ok(()),
                });
                Ok(())
            }
        }

        impl Write for $message {
            fn write(&self, out: &mut Writer) {
                match &self.kind {
                    $(Some($kind::$variant(message)) => out.kind($number, message),)*
                    // No kind; or one that only servers write.
                    _ => {}
                }
            }
        }
    )* };
}

one_of! {
    Change ChangeKind { 1 Set, 2 Unset, 3 Put, 4 Del, 5 Inc, 6 Append, 7 Send, 8 Close }
    Op OpKind { 1 Put, 2 Merge, 3 Del, 4 Clear, 5 Splice, 6 Message }
    ClientFrame ClientKind {
        1 Hello, 2 Subscribe, 3 Unsubscribe, 4 Fetch, 5 Push, 6 Call, 7 Publish, 8 PresenceSet,
        9 Refresh, 10 Ping, 11 Pong, 12 History
    }
    Precondition PreconditionKind { 1 Exists, 2 Absent, 3 Eq, 4 Unchanged }
    // Patches and parts of snapshots are read in place (`in_place.rs`), or else as `codec.rs` says.
    ServerFrame ServerKind {
        11 Pong, 32 Welcome, 33 Resume, 34 SnapshotBegin, 36 SnapshotEnd, 38 Ack,
        39 Need, 40 Hold, 41 StaleEpoch, 42 Lagged, 43 Reply, 44 Message, 45 Presence, 46 Goaway,
        47 Heartbeat, 48 Refreshed, 49 Error, 50 Page
    }
}

// Parts of frames of both directions.
fields! {
    Cursor { 1 epoch uint64, 2 seq uint64, 3 tag uint64 }
    Field { 1 name string, 2 value bytes, 3 fill uint32 }
    Record {
        1 collection string, 2 id string, 3 fields messages, 4 ttl_ms uint64, 5 expires_ms uint64
    }
    RecordRef { 1 collection string, 2 id string }
    Unset { 1 collection string, 2 id string, 3 fields strings }
    Inc { 1 collection string, 2 id string, 3 field string, 4 by sint64 }
    Append { 1 collection string, 2 id string, 3 field string, 4 text string }
    Send { 1 data bytes }
    Merge { 1 collection string, 2 id string, 3 fields messages, 4 unset strings }
    Splice { 1 collection string, 2 id string, 3 field string, 4 at uint64, 5 text string }
    StreamMessage {
        1 seq uint64, 2 ms uint64, 3 principal string, 4 author bytes, 5 n uint64, 6 data bytes
    }
    Known { 1 last uint64, 2 rejected messages, 3 check bytes, 4 low uint64 }
    Rejected { 1 n uint64, 2 code uint32, 3 detail string }
    Mid {
        1 author bytes, 2 n uint64, 3 code uint32, 4 detail string, 5 trace bytes, 6 check bytes
    }
    Limits {
        1 frame_up_bytes uint32, 2 frame_down_bytes uint32, 3 mutation_bytes uint32,
        4 push_items uint32, 5 push_bytes uint32, 6 subscriptions uint32, 7 presence_bytes uint32,
        8 record_bytes uint32
    }
}

// Frames of clients.
fields! {
    Hello {
        1 version uint32, 2 token string, 3 conn uint64, 4 client bytes, 5 max_frame uint32,
        6 session bytes, 7 continues bytes, 8 poll uint32, 9 expect_author bytes, 10 schema uint32
    }
    Subscribe {
        1 channel string, 2 have message, 3 max_epoch uint64, 4 proof bytes, 5 tail optional_uint32
    }
    Unsubscribe { 1 channel string }
    Fetch { 1 channel string, 2 epoch uint64, 3 after uint64, 4 through uint64 }
    Push { 1 channel string, 2 epoch uint64, 3 first_n uint64, 4 low uint64, 5 items messages }
    Item {
        1 changes messages, 2 noop boolean, 3 pre messages, 4 deadline_ms uint64, 5 after uint64,
        6 trace bytes, 7 check bytes, 8 schema uint32
    }
    Equals { 1 collection string, 2 id string, 3 field string, 4 value bytes }
    Unchanged { 1 collection string, 2 id string, 3 since message }
    Call { 1 id uint64, 2 route string, 3 args bytes, 4 timeout_ms uint32 }
    Publish { 1 channel string, 2 data bytes, 3 to uint64 }
    PresenceSet { 1 channel string, 2 data optional_bytes }
    Refresh { 1 token string }
    Ping { 1 t uint64 }
    Pong { 1 t uint64 }
    History { 1 id uint64, 2 channel string, 3 before message, 4 limit uint32 }
}

// Frames of servers.
fields! {
    Welcome {
        1 session bytes, 2 principal string, 3 author bytes, 4 server_ms uint64,
        5 expires_ms uint64, 6 limits message, 7 heartbeat_ms uint32, 8 flags uint64,
        9 home fixed32, 10 fallback_poll_ms uint32, 11 tenant string
    }
    Resume { 1 channel string, 2 from message, 3 head message, 4 known message, 5 proof bytes }
    SnapshotBegin {
        1 channel string, 2 cursor message, 3 known message, 4 proof bytes, 5 head message
    }
    SnapshotPart { 1 channel string, 2 records messages }
    SnapshotEnd { 1 channel string, 2 records uint64, 3 digest fixed64, 4 cursor message }
    Patch {
        1 channel string, 2 epoch uint64, 3 from uint64, 4 from_tag uint64, 5 to uint64,
        6 to_tag uint64, 7 ms uint64, 8 ops messages, 9 mids messages
    }
    Ack { 1 channel string, 2 through uint64, 3 seq uint64 }
    Need { 1 channel string, 2 n uint64, 3 cursor message }
    Hold { 1 channel string, 2 code uint32, 3 retry_ms uint32 }
    StaleEpoch { 1 channel string, 2 epoch uint64 }
    Lagged { 1 channel string }
    Reply { 1 id uint64, 2 data bytes, 3 code uint32, 4 detail string, 5 server_ms uint64 }
    Page {
        1 id uint64, 2 channel string, 3 messages messages, 4 next message, 5 first message,
        6 code uint32, 7 detail string
    }
    ChannelMessage { 1 channel string, 2 data bytes, 3 principal string, 4 cursor message }
    Presence { 1 channel string, 2 full boolean, 3 peers messages }
    Peer { 1 peer uint64, 2 principal string, 3 data optional_bytes }
    Goaway { 1 by_ms uint32, 2 window_ms uint32, 3 reason string, 4 alone boolean }
    Heartbeat { 1 heads messages, 2 server_ms uint64 }
    Head { 1 channel string, 2 cursor message }
    Refreshed { 1 expires_ms uint64 }
    ErrorFrame {
        1 code uint32, 2 fatal boolean, 3 channel optional_string, 4 id optional_uint64,
        5 n optional_uint64, 6 retry_ms optional_uint32, 7 detail string
    }
}

/// A message that says everything by being there.
macro_rules! empty {
    ($($message:ident)*) => { $(
        impl Read for $message {
            fn read(&mut self, _: u32, _: Value<'_>) -> Result<(), Malformed> {
                Ok(())
            }
        }

        impl Write for $message {
            fn write(&self, _: &mut Writer) {}
        }
    )* };
}

empty! { Clear Close }
