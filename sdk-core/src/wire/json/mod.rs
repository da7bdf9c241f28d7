//! The JSON codec: one text message is an array of frame objects, each with its `type`.
//!
//! A message is an object with the field names of `proto/tidewire.proto`, in the forms that
//! docs/protocol.md §11 lists. Everything that is not absent is written, so that a reader needs no
//! defaults, but for fields that came later (`later`): frames without them stay as they were. What is missing reads as zero, as in Protobuf. Values are embedded as they are, byte for byte.
//!
//! Invariant: what one codec accepts the other accepts too, as equal frames, and what breaks a rule of
//! the protocol gets the same code in both.

mod forms;

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::forms::{Text, hash, hex, keep, later, later_hex, optional, optional_raw, plain, raw};
use super::client::{
    Call, ClientKind, Equals, Fetch, Hello, History, Item, Ping, Pong, Precondition,
    PreconditionKind, PresenceSet, Publish, Push, Refresh, Subscribe, Unchanged, Unsubscribe,
};
use super::decode_error::DecodeError;
use super::parts::{
    Append, Change, ChangeKind, Clear, Close, Cursor, Field, Inc, Known, Limits, Merge, Mid, Op,
    OpKind, Record, RecordRef, Rejected, Send, Splice, StreamMessage, Unset,
};
use super::server::{
    Ack, ChannelMessage, ErrorFrame, Goaway, Head, Heartbeat, Hold, Lagged, Need, Page, Patch,
    Peer, Presence, Refreshed, Reply, Resume, ServerKind, SnapshotBegin, SnapshotEnd, SnapshotPart,
    StaleEpoch, Welcome,
};
use super::{CHECK_BYTES, TRACE_BYTES};

// ------------------------------------------------------------------------------ messages

/// A frame of one direction.
pub(super) trait Frame: Serialize + Sized {
    /// The frame of this `type`; `None` if there is none in this direction.
    fn read(kind: &str, text: &str) -> Option<serde_json::Result<Self>>;
}

/// Decodes a message whose size was checked.
pub(super) fn decode<F: Frame>(message: &[u8]) -> Result<Vec<F>, DecodeError> {
    let malformed = |error: serde_json::Error| DecodeError::Malformed(error.to_string());
    let frames: Vec<&RawValue> = serde_json::from_slice(message).map_err(malformed)?;
    frames
        .into_iter()
        .map(|frame| {
            let text = frame.get();
            let Kind { r#type } = serde_json::from_str(text).map_err(malformed)?;
            match F::read(&r#type, text) {
                Some(frame) => frame.map_err(malformed),
                None => Err(DecodeError::UnknownFrame),
            }
        })
        .collect()
}

/// Appends a frame to a message.
pub(super) fn encode(frame: &impl Frame, message: &mut BytesMut) {
    open(message);
    serde_json::to_writer(message.writer(), frame)
        .expect("a growing buffer takes every frame, and its keys are text");
    message.put_u8(b']');
}

/// Appends the frames of an encoded message to another.
pub(super) fn append(next: &[u8], message: &mut BytesMut) {
    if let Some(frames) = next.strip_prefix(b"[") {
        open(message);
        message.extend_from_slice(frames);
    }
}

/// Makes a message ready for one more frame, which ends it with a bracket.
fn open(message: &mut BytesMut) {
    match message.last_mut() {
        Some(end) => *end = b',',
        None => message.put_u8(b'['),
    }
}

/// Bytes of an item as it is written, with its comma and the longest numbers.
pub(super) fn item_bytes(changes: &[Change], preconditions: &[Precondition]) -> usize {
    let mut counter = Counter(0);
    let lists = (
        changes,
        preconditions,
        &Item {
            deadline_ms: u64::MAX,
            after: u64::MAX,
            trace: Bytes::from_static(&[0; TRACE_BYTES]),
            check: Bytes::from_static(&[0; CHECK_BYTES]),
            schema: u32::MAX,
            ..Item::default()
        },
    );
    serde_json::to_writer(&mut counter, &lists).expect("counting takes everything");
    counter.0
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// ------------------------------------------------------------------------------- the objects

/// The fields of an object, without its braces.
trait Object {
    fn write_fields<O: SerializeMap>(&self, object: &mut O) -> Result<(), O::Error>;
}

/// `Message { field, field as form }`: objects with these fields. The compiler finds one that is forgotten.
macro_rules! objects {
    ($($message:ident { $($field:ident $(as $form:ident)?),* })*) => {$(
        impl Object for $message {
            fn write_fields<O: SerializeMap>(&self, _object: &mut O) -> Result<(), O::Error> {
                let Self { $($field),* } = self;
                $(objects!(@write _object, $field $(, $form)?);)*
                Ok(())
            }
        }

        impl Serialize for $message {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_map(None)?;
                self.write_fields(&mut object)?;
                object.end()
            }
        }

        impl<'de> Deserialize<'de> for $message {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;

                impl<'de> Visitor<'de> for Reader {
                    type Value = $message;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<$message, A::Error> {
                        $(let mut $field = None;)*
                        while let Some(Text(name)) = object.next_key()? {
                            match &*name {
                                $(stringify!($field) => {
                                    let field = objects!(@read object $(, $form)?);
                                    keep(&mut $field, field, &name)?;
                                })*
                                _ => {
                                    object.next_value::<IgnoredAny>()?;
                                }
                            }
                        }
                        Ok($message { $($field: $field.unwrap_or_default()),* })
                    }
                }

                deserializer.deserialize_map(Reader)
            }
        }
    )*};
    (@write $object:ident, $field:ident) => { plain::write($object, stringify!($field), $field)? };
    (@write $object:ident, $field:ident, $form:ident) => {
        $form::write($object, stringify!($field), $field)?
    };
    (@read $object:ident) => { plain::read(&mut $object)? };
    (@read $object:ident, $form:ident) => { $form::read(&mut $object)? };
}

/// `Message(Kind) { name => Variant }`: objects with one of these keys. One with none of them is of a
/// kind that this version does not know.
macro_rules! one_of {
    ($($message:ident($kind:ident) { $($name:literal => $variant:ident),* })*) => {$(
        impl Serialize for $message {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_map(None)?;
                match &self.kind {
                    $(Some($kind::$variant(part)) => object.serialize_entry($name, part)?,)*
                    None => {}
                }
                object.end()
            }
        }

        impl<'de> Deserialize<'de> for $message {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;

                impl<'de> Visitor<'de> for Reader {
                    type Value = $message;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object with one key")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<$message, A::Error> {
                        let mut kind = None;
                        while let Some(Text(name)) = object.next_key()? {
                            let part = match &*name {
                                $($name => $kind::$variant(object.next_value()?),)*
                                _ => {
                                    object.next_value::<IgnoredAny>()?;
                                    continue;
                                }
                            };
                            keep(&mut kind, part, "what to do")?;
                        }
                        Ok($message { kind })
                    }
                }

                deserializer.deserialize_map(Reader)
            }
        }
    )*};
}

/// `Kind { name => Variant }`: frames by the name that `type` has.
macro_rules! frames {
    ($($kind:ident { $($name:literal => $variant:ident),* })*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_map(None)?;
                match self {
                    $(Self::$variant(frame) => {
                        object.serialize_entry("type", $name)?;
                        frame.write_fields(&mut object)?;
                    })*
                }
                object.end()
            }
        }

        impl Frame for $kind {
            fn read(kind: &str, text: &str) -> Option<serde_json::Result<Self>> {
                match kind {
                    $($name => Some(serde_json::from_str(text).map(Self::$variant)),)*
                    _ => None,
                }
            }
        }
    )*};
}

/// What names a frame.
struct Kind {
    r#type: String,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a frame: an object with a type")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Kind, A::Error> {
                let mut kind = None;
                while let Some(Text(name)) = object.next_key()? {
                    if name == "type" {
                        keep(&mut kind, object.next_value()?, "type")?;
                    } else {
                        object.next_value::<IgnoredAny>()?;
                    }
                }
                kind.map(|r#type| Kind { r#type })
                    .ok_or_else(|| A::Error::missing_field("type"))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

frames! {
    ClientKind {
        "hello" => Hello, "subscribe" => Subscribe, "unsubscribe" => Unsubscribe, "fetch" => Fetch,
        "push" => Push, "call" => Call, "publish" => Publish, "presence_set" => PresenceSet,
        "refresh" => Refresh, "ping" => Ping, "pong" => Pong, "history" => History
    }
    ServerKind {
        "pong" => Pong, "welcome" => Welcome, "resume" => Resume, "snapshot_begin" => SnapshotBegin,
        "snapshot_part" => SnapshotPart, "snapshot_end" => SnapshotEnd, "patch" => Patch,
        "ack" => Ack, "need" => Need, "hold" => Hold, "stale_epoch" => StaleEpoch,
        "lagged" => Lagged, "reply" => Reply, "message" => Message, "presence" => Presence,
        "goaway" => Goaway, "heartbeat" => Heartbeat, "refreshed" => Refreshed, "error" => Error,
        "page" => Page
    }
}

one_of! {
    Change(ChangeKind) {
        "set" => Set, "unset" => Unset, "put" => Put, "del" => Del, "inc" => Inc,
        "append" => Append, "send" => Send, "close" => Close
    }
    Op(OpKind) {
        "put" => Put, "merge" => Merge, "del" => Del, "clear" => Clear, "splice" => Splice,
        "message" => Message
    }
    Precondition(PreconditionKind) {
        "exists" => Exists, "absent" => Absent, "eq" => Eq, "unchanged" => Unchanged
    }
}

objects! {
    Hello {
        version, token, conn, client as hex, max_frame, session as later_hex,
        continues as later_hex, poll as later, expect_author as later_hex, schema as later
    }
    Subscribe {
        channel, have as optional, max_epoch, proof as later_hex, tail as optional
    }
    Unsubscribe { channel }
    Fetch { channel, epoch, after, through }
    Push { channel, epoch, first_n, low, items }
    Item {
        changes, noop, pre, deadline_ms, after, trace as later_hex, check as later_hex,
        schema as later
    }
    Equals { collection, id, field, value as raw }
    Unchanged { collection, id, since as optional }
    Call { id, route, args as raw, timeout_ms as later }
    Publish { channel, data as raw, to as later }
    PresenceSet { channel, data as optional_raw }
    Refresh { token }
    Ping { t }
    Pong { t }
    History { id, channel, before as optional, limit }

    Cursor { epoch, seq, tag }
    Field { name, value as raw, fill as later }
    Record { collection, id, fields, ttl_ms as later, expires_ms as later }
    RecordRef { collection, id }
    Unset { collection, id, fields }
    Inc { collection, id, field, by }
    Append { collection, id, field, text }
    Send { data as raw }
    Close { }
    Merge { collection, id, fields, unset }
    Clear { }
    Splice { collection, id, field, at, text }
    StreamMessage { seq, ms, principal, author as hex, n, data as raw }
    Known { last, rejected, check as later_hex, low as later }
    Rejected { n, code, detail }
    Mid { author as hex, n, code, detail, trace as later_hex, check as later_hex }
    Limits {
        frame_up_bytes, frame_down_bytes, mutation_bytes, push_items, push_bytes, subscriptions,
        presence_bytes, record_bytes
    }

    Welcome {
        session as hex, principal, author as hex, server_ms, expires_ms, limits as optional,
        heartbeat_ms, flags, home as later, fallback_poll_ms as later, tenant as later
    }
    Resume {
        channel, from as optional, head as optional, known as optional, proof as later_hex
    }
    SnapshotBegin {
        channel, cursor as optional, known as optional, proof as later_hex, head as optional
    }
    SnapshotPart { channel, records }
    SnapshotEnd { channel, records, digest as hash, cursor as optional }
    Patch { channel, epoch, from, from_tag, to, to_tag, ms, ops, mids }
    Ack { channel, through, seq }
    Need { channel, n, cursor as optional }
    Hold { channel, code, retry_ms }
    StaleEpoch { channel, epoch }
    Lagged { channel }
    Reply { id, data as raw, code, detail, server_ms as later }
    ChannelMessage { channel, data as raw, principal, cursor as optional }
    Presence { channel, full, peers }
    Peer { peer, principal, data as optional_raw }
    Goaway { by_ms, window_ms, reason, alone as later }
    Heartbeat { heads, server_ms }
    Head { channel, cursor as optional }
    Refreshed { expires_ms }
    ErrorFrame {
        code, fatal, channel as optional, id as optional, n as optional, retry_ms as optional, detail
    }
    Page {
        id, channel, messages, next as optional, first as optional, code, detail
    }
}
