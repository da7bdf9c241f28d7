//! Something by channel, behind several locks: channels that have nothing to do with each other do not wait for
//! each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewire_core::ChannelName;

/// Many times as many as a machine has processors: two that run at once seldom want the same lock.
const SHARDS: usize = 64;

/// One `T` for the channels of each lock.
#[derive(Debug)]
pub(super) struct Shards<T> {
    hasher: RandomState,
    shards: [Mutex<T>; SHARDS],
}

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl<T> Shards<T> {
    /// The part that a channel is in. What is done under the lock does not panic half-way: a poisoned one
    /// guards something whole.
    pub(super) fn of(&self, channel: &ChannelName) -> MutexGuard<'_, T> {
        let at = self.hasher.hash_one(channel) as usize % SHARDS;
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Every part, one after the other.
    pub(super) fn all(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        let lock = |shard| Mutex::lock(shard).unwrap_or_else(PoisonError::into_inner);
        self.shards.iter().map(lock)
    }
}
