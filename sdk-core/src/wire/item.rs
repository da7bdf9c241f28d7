//! A mutation's content as bytes: made once in the call, kept by the outbox's store, and spliced into pushes.

use bytes::{Bytes, BytesMut};

use super::client::Item;
use super::codec::Codec;
use super::reading::Reader;
use super::writing::{Write, Writer};
use super::{CHECK_BYTES, Change, Precondition, TRACE_BYTES};
#[cfg(feature = "json")]
use super::{ClientKind, Push, json};

/// Tag and length of an item, its deadline, what it comes after, trace, check and schema, at their longest.
const ITEM_FRAMING_BYTES: usize = 5 + 9 + 9 + (2 + TRACE_BYTES) + (2 + CHECK_BYTES) + 6;

/// An [`Item`] with changes and preconditions alone, in Protobuf.
pub(crate) fn encode_item(changes: &[Change], preconditions: &[Precondition]) -> Bytes {
    let mut item = Writer::default();
    item.messages(1, changes);
    item.messages(3, preconditions);
    item.into_bytes().into()
}

/// What a store has kept; `None`: nobody has encoded that.
pub(crate) fn decode_item(bytes: &[u8]) -> Option<Item> {
    let mut item = Item::default();
    Reader::new(bytes).read_into(&mut item).ok()?;
    Some(item)
}

/// A push whose items are bytes.
#[derive(Debug, Default)]
pub(crate) struct EncodedPush {
    pub(crate) channel: String,
    pub(crate) epoch: u64,
    pub(crate) first_n: u64,
    pub(crate) low: u64,
    pub(crate) items: Vec<EncodedItem>,
}

/// One item of it. Without content it is a no-op.
#[derive(Debug)]
pub(crate) struct EncodedItem {
    pub(crate) item: Bytes,
    pub(crate) deadline_ms: u64,
    pub(crate) after: u64,
}

/// The frame that holds it.
struct Frame<'a>(&'a EncodedPush);

impl Write for Frame<'_> {
    fn write(&self, out: &mut Writer) {
        out.kind(5, self.0);
    }
}

impl Write for EncodedPush {
    fn write(&self, out: &mut Writer) {
        out.string(1, &self.channel);
        out.uint64(2, &self.epoch);
        out.uint64(3, &self.first_n);
        out.uint64(4, &self.low);
        for item in &self.items {
            out.kind(5, item);
        }
    }
}

impl Write for EncodedItem {
    fn write(&self, out: &mut Writer) {
        out.raw(&self.item);
        out.boolean(2, &self.item.is_empty());
        out.uint64(4, &self.deadline_ms);
        out.uint64(5, &self.after);
    }
}

impl Codec {
    /// Bytes of a mutation in its push, framing included, at most: names and values alone may be a
    /// fifth of that.
    #[must_use]
    pub fn item_bytes(self, changes: &[Change], preconditions: &[Precondition]) -> usize {
        let item = encode_item(changes, preconditions);
        self.item_bytes_of(&item, (changes, preconditions))
    }

    /// Bytes of a mutation in its push, framing included, at most: names and values alone may be a fifth
    /// of that. `item` is the same mutation, encoded.
    pub(crate) fn item_bytes_of(
        self,
        item: &[u8],
        (changes, preconditions): (&[Change], &[Precondition]),
    ) -> usize {
        match self {
            Self::Protobuf => {
                let _ = (changes, preconditions);
                item.len() + ITEM_FRAMING_BYTES
            }
            #[cfg(feature = "json")]
            Self::Json => json::item_bytes(changes, preconditions),
        }
    }

    /// Appends a push to a message.
    pub(crate) fn encode_push(self, push: EncodedPush, message: &mut BytesMut) {
        match self {
            Self::Protobuf => {
                let mut frames = Writer::default();
                frames.kind(1, &Frame(&push));
                message.extend_from_slice(&frames.into_bytes());
            }
            #[cfg(feature = "json")]
            Self::Json => {
                let items = push.items.iter().map(|item| Item {
                    noop: item.item.is_empty(),
                    deadline_ms: item.deadline_ms,
                    after: item.after,
                    ..decode_item(&item.item).unwrap_or_default()
                });
                let push = Push {
                    items: items.collect(),
                    channel: push.channel,
                    epoch: push.epoch,
                    first_n: push.first_n,
                    low: push.low,
                };
                json::encode(&ClientKind::Push(push), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ChangeKind, ClientKind, PreconditionKind, Push, RecordRef};

    #[test]
    fn a_push_of_bytes_is_the_push_of_what_they_say() {
        let card = || RecordRef {
            collection: "cards".into(),
            id: "a".into(),
        };
        let changes = vec![Change {
            kind: Some(ChangeKind::Del(card())),
        }];
        let pre = vec![Precondition {
            kind: Some(PreconditionKind::Exists(card())),
        }];
        let item = encode_item(&changes, &pre);
        let push = || EncodedPush {
            channel: "board:main".into(),
            epoch: 7,
            first_n: 3,
            low: 2,
            items: [(item.clone(), 90, 1), (Bytes::new(), 80, 0)]
                .map(|(item, deadline_ms, after)| EncodedItem {
                    item,
                    deadline_ms,
                    after,
                })
                .into(),
        };
        let owned = Push {
            channel: "board:main".into(),
            epoch: 7,
            first_n: 3,
            low: 2,
            items: vec![
                Item {
                    changes,
                    pre,
                    deadline_ms: 90,
                    after: 1,
                    ..Item::default()
                },
                Item {
                    noop: true,
                    deadline_ms: 80,
                    ..Item::default()
                },
            ],
        };
        for &codec in Codec::ALL {
            let (mut spliced, mut whole) = (BytesMut::new(), BytesMut::new());
            codec.encode_push(push(), &mut spliced);
            codec.encode_client(ClientKind::Push(owned.clone()), &mut whole);
            assert_eq!(spliced, whole, "{codec:?}");
        }
        assert_eq!(decode_item(&[0xff]), None);
    }
}
