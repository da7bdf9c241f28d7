//! Entries: what a log says, one after the other.

use tidewire_core::document::Rejection;
use tidewire_core::wire::{Cursor, Op};

use super::Author;

/// Which life of the broker's data this is; never used again once data may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunId(pub u64);

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
