//! Pushes that wait for their turn.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tidewire_core::ChannelName;
use tidewire_core::document::change::changes_bytes;
use tidewire_core::document::precondition::preconditions_bytes;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{ChangeKind, Cursor, Item, Limits, NUMBER_MAX, PreconditionKind, Push};

use super::input::Subscriber;

/// A push that was not answered yet.
pub(super) struct WaitingPush {
    pub(super) subscriber: Subscriber,
    /// Only in a build that is made to be wrong.
    pub(super) right_at_arrival: Option<bool>,
    pub(super) push: Push,
    /// Where an append with it was tried last whose outcome is not known: it may be in the log yet, as long as
    /// this is the head.
    pub(super) tried_at: Option<Cursor>,
    /// Its place among everything that arrived: what was read later is newer than its sender's view.
    pub(super) arrival: u64,
    pub(super) since: MonoTime,
    pub(super) bytes: usize,
}

impl WaitingPush {
    /// Whether its author may write now.
    pub(super) fn may_write(&self, channel: &ChannelName) -> bool {
        self.right_at_arrival
            .unwrap_or_else(|| self.subscriber.rights.may_write(channel))
    }
}

/// The bounded queue of them, oldest first. At the limit a new one is answered `hold{overloaded}`.
pub(super) struct PushQueue {
    waiting: VecDeque<WaitingPush>,
    bytes: usize,
    waiting_max: usize,
    bytes_max: usize,
}

/// The queue is full.
pub(super) struct Overloaded;

impl PushQueue {
    /// An empty one for so many pushes of so many bytes.
    pub(super) const fn new(waiting_max: usize, bytes_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            waiting_max,
            bytes_max,
        }
    }

    /// Of all that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, push: WaitingPush) -> Result<(), Overloaded> {
        if self.waiting.len() >= self.waiting_max || self.bytes + push.bytes > self.bytes_max {
            return Err(Overloaded);
        }
        self.bytes += push.bytes;
        self.waiting.push_back(push);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<WaitingPush> {
        let push = self.waiting.pop_front()?;
        self.bytes -= push.bytes;
        Some(push)
    }

    /// Puts a discarded turn back in front, in its order. It was admitted before: no limit applies.
    pub(super) fn restore(&mut self, pushes: Vec<WaitingPush>) {
        for push in pushes.into_iter().rev() {
            self.bytes += push.bytes;
            self.waiting.push_front(push);
        }
    }

    pub(super) fn front(&self) -> Option<&WaitingPush> {
        self.waiting.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What a push costs in the queue.
pub(super) fn push_bytes(push: &Push) -> usize {
    push.items
        .iter()
        .map(|item| 64 + changes_bytes(&item.changes) + preconditions_bytes(&item.pre))
        .sum()
}

/// A push that is smaller than this is copied out of the network message that its values point into,
/// which may be far larger; a larger push pins at most a few times its own size.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// Makes a push that may have to wait cost about what [`push_bytes`] says.
pub(super) fn compact(push: &mut Push) {
    let mut values: Vec<&mut Bytes> = push.items.iter_mut().flat_map(values).collect();
    let bytes: usize = values.iter().map(|value| value.len()).sum();
    if bytes > COPIED_BYTES_MAX {
        return;
    }
    let mut copy = BytesMut::with_capacity(bytes);
    for value in &values {
        copy.extend_from_slice(value);
    }
    let mut copy = copy.freeze();
    for value in &mut values {
        **value = copy.split_to(value.len());
    }
}

/// Every value of an item that is bytes of the message.
fn values(item: &mut Item) -> impl Iterator<Item = &mut Bytes> {
    let written = item
        .changes
        .iter_mut()
        .flat_map(|change| match &mut change.kind {
            Some(ChangeKind::Set(record) | ChangeKind::Put(record)) => record.fields.as_mut_slice(),
            _ => &mut [],
        });
    let expected = item.pre.iter_mut().filter_map(|pre| match &mut pre.kind {
        Some(PreconditionKind::Eq(eq)) => Some(&mut eq.value),
        _ => None,
    });
    written.map(|field| &mut field.value).chain(expected)
}

/// Checks the frame's own contract; its items are judged one by one later.
pub(super) fn check_contract(push: &Push, limits: &Limits) -> Result<(), String> {
    let items = push.items.len() as u64;
    if items == 0 {
        return Err("a push needs an item".into());
    }
    if items > u64::from(limits.push_items) {
        return Err(format!(
            "push of {items} items is over {}",
            limits.push_items
        ));
    }
    if push.first_n == 0 || push.first_n > NUMBER_MAX - items {
        return Err("the numbers of a push start at 1 and stay below 2^53".into());
    }
    if push.low > push.first_n {
        return Err("low is above the first number of the push".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{Change, Equals, Field, Precondition, Record};

    use super::*;

    /// A push whose values point into `message`.
    fn push(message: &Bytes, value_bytes: usize) -> Push {
        let field = |at: usize| Field {
            name: "f".into(),
            value: message.slice(at..at + value_bytes),
            ..Field::default()
        };
        let record = Record {
            collection: "c".into(),
            id: "i".into(),
            fields: vec![field(0), field(1)],
            ..Record::default()
        };
        let eq = Equals {
            value: message.slice(2..2 + value_bytes),
            ..Equals::default()
        };
        Push {
            items: vec![Item {
                changes: vec![Change {
                    kind: Some(ChangeKind::Put(record)),
                }],
                pre: vec![Precondition {
                    kind: Some(PreconditionKind::Eq(eq)),
                }],
                ..Item::default()
            }],
            ..Push::default()
        }
    }

    #[test]
    fn a_small_push_lets_go_of_its_network_message_and_says_the_same() {
        let message: Bytes = (0..=255u8).cycle().take(100_000).collect();
        let mut compacted = push(&message, 300);
        compact(&mut compacted);
        assert_eq!(compacted, push(&message, 300));
        assert!(message.is_unique());
    }

    #[test]
    fn a_large_push_is_not_copied() {
        let message = Bytes::from(vec![b'1'; 100_000]);
        let mut large = push(&message, 20_000);
        compact(&mut large);
        assert!(!message.is_unique());
    }
}
