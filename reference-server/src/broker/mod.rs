//! One ordered log per channel, over compare-and-append. Safety comes from that comparison alone.

#[cfg(all(test, feature = "net"))]
mod conformance;
#[cfg(feature = "net")]
mod disk;
#[cfg(feature = "net")]
mod memory;
#[cfg(feature = "net")]
mod nodes;
#[cfg(feature = "net")]
mod shards;
#[cfg(feature = "net")]
mod watch;

pub use crate::log::{
    BrokerReply, BrokerRequest, Entry, EntryBody, Log, LogKind, RunId, Snapshot, SnapshotName,
    StoredSnapshot, TableRow,
};
#[cfg(feature = "net")]
pub use disk::{DiskBroker, OpenError};
#[cfg(feature = "net")]
pub use memory::MemoryBroker;
#[cfg(feature = "net")]
pub use nodes::{Nodes, Serving};
#[cfg(feature = "net")]
pub use watch::Watch;

/// One reply carries about this many bytes of entries; at least one entry if there is any.
#[cfg(feature = "net")]
pub(crate) const PART_BYTES_MAX: usize = 1024 * 1024;

/// An answer, there or on its way.
#[cfg(feature = "net")]
pub enum Answer {
    /// It is there.
    Ready(BrokerReply),
    /// It needs no driver of its own: dropping it does not undo what was asked.
    Later(std::pin::Pin<Box<dyn Future<Output = BrokerReply> + Send>>),
}

#[cfg(feature = "net")]
impl Answer {
    /// One that is on its way.
    pub fn later(answer: impl Future<Output = BrokerReply> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }
}

#[cfg(feature = "net")]
impl Future for Answer {
    type Output = BrokerReply;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<BrokerReply> {
        // What was told is not told again.
        match std::mem::replace(&mut *self, Self::later(std::future::pending())) {
            Self::Ready(reply) => std::task::Poll::Ready(reply),
            Self::Later(mut later) => {
                let polled = later.as_mut().poll(context);
                if polled.is_pending() {
                    *self = Self::Later(later);
                }
                polled
            }
        }
    }
}

/// Keeps the logs of all channels. Each log behaves as [`Log`] does; one conformance suite says so.
#[cfg(feature = "net")]
pub trait Broker: Send + Sync {
    /// Asks something about one channel. Every request is answered; what cannot be done is
    /// [`BrokerReply::Failed`].
    fn request(&self, channel: &tidewire_core::ChannelName, request: BrokerRequest) -> Answer;

    /// Tells when a channel's log grows: a hint, after which the log is read.
    fn watch(&self, channel: &tidewire_core::ChannelName) -> Watch;

    /// Whether it can keep this channel: those that it has always, a further one while there is room.
    fn has_room(&self, channel: &tidewire_core::ChannelName) -> bool {
        let _ = channel;
        true
    }

    /// Which life of its data this is.
    fn run_id(&self) -> RunId;

    /// A node serves from it from now on, until it leaves. `None`: it is nobody's but this node's.
    fn join(&self) -> Option<Serving> {
        None
    }
}
