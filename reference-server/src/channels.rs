//! Channel name → the task that runs the channel on this node.
//!
//! A channel has at most one task here. It starts with the first input and ends when nobody has used
//! it for a while; whoever then still holds the old handle gets the input back and looks up again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tidewire_core::ChannelName;
use tidewire_core::wire::Cursor;
use tokio::sync::watch;

use crate::channel::{ChannelInput, PeerId};
use crate::connection::{ChannelRef, Posted, To};
use crate::driver::{Driver, DriverParts};
use crate::inbox::{Inbox, Refused};

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

/// What became of an input at once.
pub(crate) enum Attempt {
    Done(Posted<Arc<Mailbox>>),
    /// There is no room; the input comes back.
    Full(Arc<Mailbox>, ChannelInput),
}

/// More channels are in memory than this server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyChannels;

type Shard = HashMap<ChannelName, Arc<Mailbox>>;

/// All channels of this node.
pub(crate) struct Channels {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    count: watch::Sender<usize>,
    stopping: AtomicBool,
    channels_max: usize,
    parts: DriverParts,
}

impl Channels {
    pub(crate) fn new(parts: DriverParts, channels_max: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            count: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            channels_max,
            parts,
        })
    }

    fn shard(&self, name: &ChannelName) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(name) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The channel's task, if it runs.
    pub(crate) fn find(&self, name: &ChannelName) -> Option<Arc<Mailbox>> {
        self.shard(name).get(name).cloned()
    }

    /// The channel's task; started if it does not run.
    pub(crate) fn route(
        self: &Arc<Self>,
        name: &ChannelName,
    ) -> Result<Arc<Mailbox>, TooManyChannels> {
        let mut shard = self.shard(name);
        if let Some(handle) = shard.get(name) {
            return Ok(Arc::clone(handle));
        }
        if self.count() >= self.channels_max || self.is_stopping() {
            return Err(TooManyChannels);
        }
        let inputs_max = self.parts.config.bounds.inputs;
        let handle = Arc::new(Mailbox::new(name.clone(), inputs_max));
        shard.insert(name.clone(), Arc::clone(&handle));
        self.count.send_modify(|count| *count += 1);
        self.parts.metrics.channels.inc();
        let driver = Driver::new(Arc::clone(self), Arc::clone(&handle), &self.parts);
        tokio::spawn(driver.run());
        Ok(handle)
    }

    /// Hands an input to a channel if there is room.
    pub(crate) fn try_post(self: &Arc<Self>, to: To<Arc<Mailbox>>, input: ChannelInput) -> Attempt {
        let mailbox = match to {
            To::Task(mailbox) => mailbox,
            To::Running(name) => match self.find(&name) {
                Some(mailbox) => mailbox,
                None => return Attempt::Done(Posted::Closed(input)),
            },
            To::Start { name, last } => match last.map_or_else(|| self.route(&name), Ok) {
                Ok(mailbox) => mailbox,
                Err(TooManyChannels) => return Attempt::Done(Posted::TooMany),
            },
        };
        match mailbox.inbox.try_push(input) {
            Ok(()) => Attempt::Done(Posted::Taken(mailbox)),
            Err(Refused::Full(back)) => Attempt::Full(mailbox, back),
            Err(Refused::Closed(back)) => Attempt::Done(Posted::Closed(back)),
        }
    }

    /// Hands in what goes in whether there is room or not. A channel that does not run is not started.
    pub(crate) fn post_always(&self, to: To<Arc<Mailbox>>, input: ChannelInput) {
        let mailbox = match to {
            To::Task(mailbox) => Some(mailbox),
            To::Running(name) | To::Start { name, .. } => self.find(&name),
        };
        if let Some(mailbox) = mailbox {
            // Whoever is gone need not know.
            let _ = mailbox.inbox.push_always(input);
        }
    }

    /// A channel whose message was refused may go on.
    pub(crate) fn tell_drained(&self, name: &ChannelName, peer: PeerId) {
        let drained = ChannelInput::Drained { conn: peer };
        self.post_always(To::Running(name.clone()), drained);
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
            self.parts.metrics.channels.dec();
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
