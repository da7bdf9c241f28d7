//! Channel name → the way into the task that runs the channel on this node.
//!
//! Invariant: a name has at most one way in. Whoever still holds an old one gets inputs back and looks the
//! name up again. No task is known here: `channels.rs` starts them, and each ends itself here.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidewire_core::ChannelName;
use tidewire_core::wire::Cursor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::channel::ChannelInput;
use crate::config::Bounds;
use crate::connection::ChannelRef;
use crate::inbox::Inbox;
use crate::telemetry::Metrics;

const STOP_TIMEOUT: Duration = Duration::from_secs(5);

const SHARDS: usize = 16;

/// The way into one channel's task.
pub(crate) struct Mailbox {
    pub(crate) name: ChannelName,
    pub(crate) inbox: Inbox<ChannelInput>,
    /// What the channel has folded and handed to its subscribers.
    pub(crate) head: watch::Sender<Cursor>,
    /// Whether the channel was opened and not deleted since, as of `head`.
    pub(crate) exists: AtomicBool,
}

impl Mailbox {
    /// `inputs_max` may wait for it. Pushes beyond are told `hold`; subscribes wait.
    pub(crate) fn new(name: ChannelName, inputs_max: usize) -> Self {
        Self {
            name,
            inbox: Inbox::new(inputs_max),
            head: watch::Sender::new(Cursor::default()),
            exists: AtomicBool::new(false),
        }
    }

    pub(crate) fn head(&self) -> Cursor {
        *self.head.borrow()
    }
}

impl ChannelRef for Arc<Mailbox> {
    fn head(&self) -> Cursor {
        Mailbox::head(self)
    }

    fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    fn is(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other)
    }
}

/// More channels are in memory than this server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyChannels;

type Shard = HashMap<ChannelName, Arc<Mailbox>>;

/// The ways into all channels of this node.
pub(crate) struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    count: watch::Sender<usize>,
    stopping: AtomicBool,
    channels_max: usize,
    /// One permit for each channel that may stay though nobody uses it.
    idle: Arc<Semaphore>,
    inputs_max: usize,
    metrics: Arc<Metrics>,
}

/// A channel may stay in memory though nobody uses it, as long as this is held.
pub(crate) type IdlePlace = OwnedSemaphorePermit;

impl Registry {
    /// Of at most `channels_max` channels; what else bounds them, `bounds` says.
    pub(crate) fn new(channels_max: usize, bounds: &Bounds, metrics: Arc<Metrics>) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            count: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            channels_max,
            idle: Arc::new(Semaphore::new(
                bounds.idle_channels.min(Semaphore::MAX_PERMITS),
            )),
            inputs_max: bounds.inputs,
            metrics,
        }
    }

    /// A place for a channel that nobody uses, if there is one left.
    pub(crate) fn idle_place(&self) -> Option<IdlePlace> {
        Arc::clone(&self.idle).try_acquire_owned().ok()
    }

    fn shard(&self, name: &ChannelName) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(name) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The way into a channel that runs.
    pub(crate) fn find(&self, name: &ChannelName) -> Option<Arc<Mailbox>> {
        self.shard(name).get(name).cloned()
    }

    /// The way into a channel; `start` is called with a new one if it does not run.
    pub(crate) fn find_or_start(
        &self,
        name: &ChannelName,
        start: impl FnOnce(Arc<Mailbox>),
    ) -> Result<Arc<Mailbox>, TooManyChannels> {
        let mut shard = self.shard(name);
        if let Some(handle) = shard.get(name) {
            return Ok(Arc::clone(handle));
        }
        if self.count() >= self.channels_max || self.is_stopping() {
            return Err(TooManyChannels);
        }
        let handle = Arc::new(Mailbox::new(name.clone(), self.inputs_max));
        shard.insert(name.clone(), Arc::clone(&handle));
        self.count.send_modify(|count| *count += 1);
        self.metrics.channels.inc();
        start(Arc::clone(&handle));
        Ok(handle)
    }

    /// Ends a channel's task if nothing waits for it; tells whether it did.
    ///
    /// Closing and forgetting are one step under the shard's lock: whoever looks the name up
    /// afterwards gets a new task, whoever holds the old handle is refused.
    pub(crate) fn retire(&self, handle: &Arc<Mailbox>) -> bool {
        let mut shard = self.shard(&handle.name);
        if !handle.inbox.close_if_empty() {
            return false;
        }
        self.forget(&mut shard, handle);
        true
    }

    /// Forgets a task that is gone, whatever waits for it.
    pub(crate) fn abandon(&self, handle: &Arc<Mailbox>) {
        let mut shard = self.shard(&handle.name);
        handle.inbox.close();
        self.forget(&mut shard, handle);
    }

    fn forget(&self, shard: &mut Shard, handle: &Arc<Mailbox>) {
        let known = shard.get(&handle.name);
        if known.is_some_and(|known| Arc::ptr_eq(known, handle)) {
            shard.remove(&handle.name);
            self.count.send_modify(|count| *count -= 1);
            self.metrics.channels.dec();
        }
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Ends every task once nothing is under way in it, and waits for that: whoever opens the
    /// broker's data next finds it let go of.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(|e| e.into_inner());
            for handle in shard.values() {
                handle.inbox.wake();
            }
        }
        let mut count = self.count.subscribe();
        let stopped = count.wait_for(|count| *count == 0);
        // A broker that does not answer must not keep the process.
        let _ = tokio::time::timeout(STOP_TIMEOUT, stopped).await;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_channels_stay_that_nobody_uses_and_no_more() {
        let bounds = Bounds {
            idle_channels: 2,
            ..Bounds::default()
        };
        let registry = Registry::new(10, &bounds, Metrics::with_faults(Default::default()));
        let first = registry.idle_place();
        let second = registry.idle_place();
        assert!(first.is_some() && second.is_some());
        assert!(registry.idle_place().is_none());
        // Somebody came back, or its time was over.
        drop(first);
        assert!(registry.idle_place().is_some());
    }
}
