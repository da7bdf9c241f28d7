//! Frames of both codecs: whatever decodes is encoded to what decodes to the same, in the other codec
//! too; sizes come first.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use tidewire_core::document::value::is_json;
use tidewire_core::wire::{
    CHECK_BYTES, Change, ChangeKind, ClientKind, Codec, DecodeError, Field, Item, NUMBER_MAX, Op,
    OpKind, PreconditionKind, Push, ServerKind, TRACE_BYTES,
};

use crate::any;
use crate::script::Script;

/// Protobuf: the first byte chooses between bytes as they are and frames built from a script.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    match script.byte() {
        0..64 => message::<ClientKind>(Codec::Protobuf, script.rest()),
        64..128 => message::<ServerKind>(Codec::Protobuf, script.rest()),
        128..192 => {
            let frame = |script: &mut Script<'_>| any::client_frame(script);
            let frames: Vec<ClientKind> = built(&mut script, frame);
            frames.iter().for_each(counted);
            round_trips(&frames);
        }
        192..=255 => round_trips(&built(&mut script, any::server_frame)),
    }
}

/// JSON: a `!` in front makes it a client's message.
pub(crate) fn run_json(input: &[u8]) {
    match input.strip_prefix(b"!") {
        Some(text) => message::<ClientKind>(Codec::Json, text),
        None => message::<ServerKind>(Codec::Json, input),
    }
}

/// The frames of one direction.
trait Frame: Clone + PartialEq + Debug {
    fn decode(codec: Codec, message: Bytes, bytes_max: usize) -> Result<Vec<Self>, DecodeError>;
    fn encode(codec: Codec, frame: Self, message: &mut BytesMut);
    /// Whether every value in it is one, so that JSON can embed it.
    fn is_sound(&self) -> bool;
}

impl Frame for ClientKind {
    fn decode(codec: Codec, message: Bytes, bytes_max: usize) -> Result<Vec<Self>, DecodeError> {
        codec.decode_client(message, bytes_max)
    }

    fn encode(codec: Codec, frame: Self, message: &mut BytesMut) {
        codec.encode_client(frame, message);
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Push(push) => push.items.iter().all(|item| {
                let eq = |pre: &PreconditionKind| match pre {
                    PreconditionKind::Eq(eq) => is_value(&eq.value),
                    _ => true,
                };
                item.changes.iter().all(change_is_sound)
                    && item.pre.iter().filter_map(|pre| pre.kind.as_ref()).all(eq)
            }),
            Self::Call(call) => is_value(&call.args),
            Self::Publish(publish) => is_value(&publish.data),
            Self::PresenceSet(set) => set.data.as_ref().is_none_or(|data| is_json(data)),
            _ => true,
        }
    }
}

impl Frame for ServerKind {
    fn decode(codec: Codec, message: Bytes, bytes_max: usize) -> Result<Vec<Self>, DecodeError> {
        codec.decode_server(message, bytes_max)
    }

    fn encode(codec: Codec, frame: Self, message: &mut BytesMut) {
        codec.encode_server(frame, message);
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Patch(patch) => patch.ops.iter().all(op_is_sound),
            Self::SnapshotPart(part) => part.records.iter().all(|record| sound(&record.fields)),
            Self::Reply(reply) => is_value(&reply.data),
            Self::Message(message) => is_value(&message.data),
            Self::Page(page) => page.messages.iter().all(|message| is_value(&message.data)),
            Self::Presence(presence) => presence
                .peers
                .iter()
                .all(|peer| peer.data.as_ref().is_none_or(|data| is_json(data))),
            _ => true,
        }
    }
}

fn change_is_sound(change: &Change) -> bool {
    match &change.kind {
        Some(ChangeKind::Set(record) | ChangeKind::Put(record)) => sound(&record.fields),
        Some(ChangeKind::Send(send)) => is_value(&send.data),
        _ => true,
    }
}

fn op_is_sound(op: &Op) -> bool {
    match &op.kind {
        Some(OpKind::Put(record)) => sound(&record.fields),
        Some(OpKind::Merge(merge)) => sound(&merge.fields),
        Some(OpKind::Message(message)) => is_value(&message.data),
        _ => true,
    }
}

fn sound(fields: &[Field]) -> bool {
    fields.iter().all(|field| is_value(&field.value))
}

/// A value, or none at all: what is absent in JSON reads as empty.
fn is_value(value: &[u8]) -> bool {
    value.is_empty() || is_json(value)
}

fn built<F>(script: &mut Script<'_>, frame: impl Fn(&mut Script<'_>) -> F) -> Vec<F> {
    (0..=script.below(3)).map(|_| frame(script)).collect()
}

/// Decodes bytes of a peer.
fn message<F: Frame>(codec: Codec, message: &[u8]) {
    let message = Bytes::copy_from_slice(message);
    if let Some(bytes_max) = message.len().checked_sub(1) {
        let refused = F::decode(codec, message.clone(), bytes_max).err();
        assert!(matches!(refused, Some(DecodeError::TooLarge { .. })));
    }
    match F::decode(codec, message.clone(), message.len()) {
        Ok(frames) => {
            // A frame takes two bytes at least: what a message unfolds to is bounded by its size.
            assert!(frames.len() * 2 <= message.len());
            round_trips(&frames);
        }
        Err(DecodeError::TooLarge { .. }) => panic!("refused for its size, which is the limit"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn round_trips<F: Frame>(frames: &[F]) {
    for &codec in Codec::ALL {
        let mut message = BytesMut::new();
        let mut joined = BytesMut::new();
        for frame in frames {
            F::encode(codec, frame.clone(), &mut message);
            let mut alone = BytesMut::new();
            F::encode(codec, frame.clone(), &mut alone);
            codec.append(&alone, &mut joined);
        }
        assert_eq!(message, joined, "messages concatenate");
        if frames.is_empty() && codec == Codec::Json {
            continue;
        }
        let read = F::decode(codec, message.freeze(), usize::MAX);
        if codec == Codec::Protobuf || frames.iter().all(F::is_sound) {
            assert_eq!(read.as_deref(), Ok(frames), "{codec:?}");
        } else {
            assert!(read.is_ok_and(|read| read.len() == frames.len()));
        }
    }
}

/// What the client counts before it queues a mutation is never less than what it costs in a push.
fn counted(frame: &ClientKind) {
    let ClientKind::Push(push) = frame else {
        return;
    };
    for item in &push.items {
        let alone = Item {
            noop: false,
            deadline_ms: NUMBER_MAX,
            after: NUMBER_MAX,
            trace: Bytes::from_static(&[0; TRACE_BYTES]),
            check: Bytes::from_static(&[0; CHECK_BYTES]),
            schema: u32::MAX,
            ..item.clone()
        };
        for &codec in Codec::ALL {
            let bytes = |items| {
                let mut message = BytesMut::new();
                let push = Push {
                    items,
                    ..Push::default()
                };
                codec.encode_client(ClientKind::Push(push), &mut message);
                message.len()
            };
            let cost = bytes(vec![alone.clone()]) - bytes(Vec::new());
            // The lengths of push, frame and frames may each grow by four bytes.
            assert!(cost <= codec.item_bytes(&item.changes, &item.pre) + 12);
        }
    }
}
