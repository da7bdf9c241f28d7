//! One ordered log per channel, over compare-and-append. Safety comes from that comparison alone.
//!
//! A [`Broker`] is what nodes share: logs, and what nodes tell each other beside them. Two are here, in memory and
//! on disk; others are written against `broker::conformance`, which the feature `testing` makes public
//! (`examples/broker` is one).

#[cfg(feature = "net")]
mod answer;
#[cfg(all(any(test, feature = "testing"), feature = "net"))]
pub mod conformance;
#[cfg(feature = "net")]
mod disk;
#[cfg(feature = "net")]
mod inbox;
#[cfg(feature = "net")]
mod listeners;
#[cfg(feature = "net")]
mod local;
#[cfg(feature = "net")]
mod memory;
#[cfg(feature = "net")]
mod nodes;
#[cfg(feature = "net")]
mod room;
#[cfg(feature = "net")]
mod shards;
#[cfg(feature = "net")]
mod wake;

pub use crate::log::{
    BrokerReply, BrokerRequest, Entry, EntryBody, Log, LogKind, NodeId, RunId, Snapshot,
    SnapshotName, StoredSnapshot, TableRow,
};
#[cfg(feature = "net")]
use {crate::channel_pattern::ChannelPattern, bytes::Bytes, tidewire_core::ChannelName};
#[cfg(feature = "net")]
pub use {
    answer::Answer,
    disk::{DiskBounds, DiskBroker, OpenError},
    inbox::{Inbox, Inboxes, Letter, LetterId, Sent},
    listeners::Listeners,
    memory::MemoryBroker,
    nodes::{Nodes, Serving},
    room::Room,
    wake::{Heard, Wake, Watch},
};

/// One reply carries about this many bytes of entries; at least one entry if there is any.
#[cfg(feature = "net")]
pub(crate) const PART_BYTES_MAX: usize = 1024 * 1024;

/// The broker cannot do it just now.
#[cfg(feature = "net")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker cannot be used just now: {detail}")]
pub struct Unavailable {
    /// For the log.
    pub detail: String,
}

/// A part of the names of all channels that have a log.
#[cfg(feature = "net")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// In the order of their bytes.
    pub channels: Vec<ChannelName>,
    /// There are others: ask again, after the last one.
    pub more: bool,
}

/// Keeps the logs of all channels, and carries what nodes tell each other. Each log behaves as [`Log`] does; one
/// conformance suite says so.
///
/// No method blocks. Dropping an [`Answer`] does not undo what was asked.
#[cfg(feature = "net")]
pub trait Broker: Send + Sync {
    /// Asks something about one channel. Every request is answered; what cannot be done is
    /// [`BrokerReply::Failed`]. Requests of one node about one channel are done in the order they were made.
    ///
    /// The run id in an answer is the channel's: a broker that keeps channels in several places may have several.
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer<BrokerReply>;

    /// Tells when one of these logs grows, whoever appended, and what is published there: from now on, until the
    /// watch is dropped.
    fn watch(&self, channels: &ChannelPattern) -> Watch;

    /// Hands a message to everybody who watches the channel now, on all nodes, also on this one. It may get lost,
    /// and comes at most once.
    fn publish(&self, channel: &ChannelName, message: Bytes) -> Answer<Result<(), Unavailable>>;

    /// Opens a node's inbox. Letters that were handed over from it before, and not handled, come again.
    fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>>;

    /// Puts a letter into a node's inbox. After an error it may be there all the same.
    fn send(&self, node: NodeId, letter: Letter) -> Answer<Result<Sent, Unavailable>>;

    /// The first `limit` channels, at least one, whose names begin with `prefix`, after a name: those that were
    /// appended to, deleted ones too, as long as their logs are there.
    fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Answer<Result<Listed, Unavailable>>;

    /// Whether it can be used, asked anew.
    fn health(&self) -> Answer<Result<(), Unavailable>>;

    /// Ends its work: what was asked before is answered first, what is asked afterwards fails.
    fn close(&self) -> Answer<()>;

    /// Whether it can keep this channel: those that it has always, a further one while there is room.
    fn has_room(&self, channel: &ChannelName) -> bool {
        let _ = channel;
        true
    }

    /// Whether it can keep more. Asked before every push.
    fn room(&self) -> Room {
        Room::Free
    }

    /// How many bytes it stores, if it counts them.
    fn stored_bytes(&self) -> Option<u64> {
        None
    }

    /// A node serves from it from now on, until it leaves. `None`: it is nobody's but this node's.
    fn join(&self) -> Option<Serving> {
        None
    }
}
