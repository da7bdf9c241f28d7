//! One ordered log per channel, over compare-and-append. Safety comes from that comparison alone.

pub mod codec;
#[cfg(all(test, feature = "net"))]
mod conformance;
#[cfg(feature = "net")]
mod disk;
mod log;
#[cfg(feature = "net")]
mod memory;
#[cfg(feature = "net")]
mod watch;

use std::sync::Arc;

use tidewire_core::document::{Document, Rejection};
use tidewire_core::time::UnixTime;
use tidewire_core::wire::{Cursor, Op};

use crate::channel::Author;

#[cfg(feature = "net")]
pub use disk::{DiskBroker, OpenError};
pub use log::Log;
#[cfg(feature = "net")]
pub use memory::MemoryBroker;
#[cfg(feature = "net")]
pub use watch::Watch;

/// Which life of the broker's data this is; never used again once data may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunId(pub u64);

/// One reply carries at most this many entries, and about this many bytes of them; at least one entry
/// if there is any. `more` then says that there are others.
pub(crate) const PART_ENTRIES_MAX: usize = 1024;
#[cfg(feature = "net")]
pub(crate) const PART_BYTES_MAX: usize = 1024 * 1024;

/// One entry of a channel's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its epoch, its place, and the running hash of the log up to and with it.
    pub cursor: Cursor,
    /// Log time: Unix milliseconds, never falling.
    pub ms: u64,
    /// The broker's run id when it was appended.
    pub run: RunId,
    /// What it says.
    pub body: EntryBody,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryBody {
    /// An epoch begins. In a new or deleted channel, `ops` are its initial records.
    Opening {
        /// Puts.
        ops: Vec<Op>,
    },
    /// A mutation was decided.
    Mutation {
        /// Whose.
        author: Author,
        /// Its number.
        n: u64,
        /// The lowest number still in the author's outbox: rejections below it are forgotten.
        low: u64,
        /// The deadline it was judged by, Unix milliseconds.
        deadline_ms: u64,
        /// Its absolute results, or why it was rejected.
        outcome: Result<Vec<Op>, Rejection>,
    },
    /// The channel was deleted: it is empty until someone uses it again.
    Deletion,
}

/// State and table at a cursor; what a log may be trimmed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Which entry it includes last.
    pub cursor: Cursor,
    /// Log time there.
    pub ms: u64,
    /// Whether the last fact about the channel is its deletion.
    pub deleted: bool,
    /// All records.
    pub document: Document,
    /// The whole table, sorted by author.
    pub table: Vec<(Author, TableRow)>,
}

/// One author's row of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRow {
    /// The highest decided number.
    pub last: u64,
    /// The rejected ones among those at or above the author's `low`.
    pub rejected: Vec<(u64, Rejection)>,
    /// The latest deadline of its mutations, Unix milliseconds: the row is kept for the retention after it.
    pub deadline_max: u64,
}

/// What a channel asks its broker for.
#[derive(Clone, Debug)]
pub enum BrokerRequest {
    /// The newest snapshot, and the entries that the log still has (also those below the snapshot).
    Load,
    /// The entries after a seq.
    Read {
        /// Exclusive.
        after: u64,
    },
    /// Append iff the head's cursor is still `expected` (zero: the log is empty), the entries carry the
    /// broker's present run id and, unless the first entry is an opening, so does the head. All entries,
    /// or none. Answered once durable.
    Append {
        /// What the channel has folded.
        expected: Cursor,
        /// With contiguous seqs; `run` is what the broker said last.
        entries: Vec<Arc<Entry>>,
    },
    /// Store a snapshot and drop entries up to `trim_through`. Only forward, only on the same line.
    PutSnapshot {
        /// The snapshot.
        snapshot: Arc<Snapshot>,
        /// Inclusive; 0 = keep all.
        trim_through: u64,
    },
}

/// What the broker says.
#[derive(Clone, Debug)]
pub enum BrokerReply {
    /// To `Load`.
    Loaded {
        /// The newest, if one was cut.
        snapshot: Option<Arc<Snapshot>>,
        /// The oldest ones, in order.
        entries: Vec<Arc<Entry>>,
        /// The log goes on after them: read the rest.
        more: bool,
        /// The present run id.
        run: RunId,
        /// The broker's clock, read between question and answer.
        clock: UnixTime,
    },
    /// To `Read`.
    Entries {
        /// In order.
        entries: Vec<Arc<Entry>>,
        /// The log goes on after them: read again.
        more: bool,
        /// The present run id.
        run: RunId,
        /// The broker's clock, read between question and answer.
        clock: UnixTime,
    },
    /// To `Read`: entries after that seq are gone, or the log ends before it; load again.
    Trimmed,
    /// To `Append`.
    Appended,
    /// To `Append`: the head is another one; nothing was appended. Catch up.
    Conflict,
    /// To `PutSnapshot`, whether it was stored or was not newer.
    SnapshotStored,
    /// The broker could not answer. Whether an append happened is unknown: catch up before the next.
    Failed {
        /// For the log.
        detail: String,
    },
}

/// An answer on its way. It needs no driver of its own: dropping it does not undo what was asked.
#[cfg(feature = "net")]
pub type Answer = std::pin::Pin<Box<dyn Future<Output = BrokerReply> + Send>>;

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
}
