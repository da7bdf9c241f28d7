//! Pushes that wait for their turn.

use std::collections::VecDeque;

use tidewire_core::document::change::changes_bytes;
use tidewire_core::document::precondition::preconditions_bytes;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{Limits, NUMBER_MAX, Push};

use super::input::Subscriber;

/// At most this many pushes wait. At the limit a new one is answered `hold{overloaded}`.
const WAITING_MAX: usize = 1024;

/// At most this many bytes of pushes wait; policy as above.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A push that was not answered yet.
pub(super) struct WaitingPush {
    pub(super) subscriber: Subscriber,
    pub(super) writable: bool,
    pub(super) push: Push,
    /// Its place among everything that arrived: what was read later is newer than its sender's view.
    pub(super) arrival: u64,
    pub(super) since: MonoTime,
    pub(super) bytes: usize,
}

/// The bounded queue of them, oldest first.
#[derive(Default)]
pub(super) struct PushQueue {
    waiting: VecDeque<WaitingPush>,
    bytes: usize,
}

/// The queue is full.
pub(super) struct Overloaded;

impl PushQueue {
    pub(super) fn push(&mut self, push: WaitingPush) -> Result<(), Overloaded> {
        if self.waiting.len() >= WAITING_MAX || self.bytes + push.bytes > WAITING_BYTES_MAX {
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
