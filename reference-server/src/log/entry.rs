//! Entries: what a log says, one after the other.
//!
//! Invariant: an entry's ops are encoded once, by whoever decided it. From then on the same bytes are
//! hashed, stored and sent.

use tidewire_core::document::Rejection;
use tidewire_core::wire::{Cursor, Ops};

use super::Author;

/// Which life of the broker's data this is; never used again once data may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunId(pub u64);

/// What a log is for. It stands in each opening, and never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// Records.
    #[default]
    State,
    /// Messages. Reserved: this version folds none.
    Stream,
}

/// The running check of an author's items up to one of them, by which clones of a store are found.
pub type Check = [u8; 8];

/// What belongs to a trace of a mutation's way. Carried, never looked at.
pub type Trace = Box<[u8; 26]>;

/// One entry of a channel's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its epoch, its place, and the running hash of the log up to and with it.
    pub cursor: Cursor,
    /// The tag of the entry before it, 0 if there is none: a broker that cannot compare lets readers find
    /// by it what does not belong to the log.
    pub previous_tag: u64,
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
        /// What the log is for.
        kind: LogKind,
        /// Puts.
        ops: Ops,
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
        /// The version of the application's records that it was written for; 0 = none.
        schema: u32,
        /// Of its item, if the author's store keeps checks.
        check: Option<Check>,
        /// Outside of the tag: it says nothing about the state.
        trace: Option<Trace>,
        /// Its absolute results, or why it was rejected.
        outcome: Result<Ops, Rejection>,
    },
    /// The channel was deleted: it is empty until someone uses it again.
    Deletion,
    /// A mutation that the HTTP API was given under a key. Reserved: this version folds none.
    Keyed {
        /// The key, with whom it belongs to.
        key: Vec<u8>,
        /// SHA-256 of what was asked for: the same key with something else is refused.
        body_hash: [u8; 32],
        /// Until when the key is remembered, Unix milliseconds of log time.
        expires_ms: u64,
        /// As of a mutation.
        outcome: Result<Ops, Rejection>,
    },
    /// Records went because their time was over. Reserved: this version folds none.
    Expiry {
        /// Their ops.
        ops: Ops,
    },
    /// The log takes no more messages. Reserved: this version folds none.
    Close,
}

impl EntryBody {
    /// An epoch of a state log begins.
    #[must_use]
    pub const fn opening(ops: Ops) -> Self {
        Self::Opening {
            kind: LogKind::State,
            ops,
        }
    }

    /// A mutation that carries nothing but what decides.
    #[must_use]
    pub const fn mutation(
        (author, n): (Author, u64),
        low: u64,
        deadline_ms: u64,
        outcome: Result<Ops, Rejection>,
    ) -> Self {
        Self::Mutation {
            author,
            n,
            low,
            deadline_ms,
            schema: 0,
            check: None,
            trace: None,
            outcome,
        }
    }

    /// What it does to records; nothing for a deletion, which has no ops, and for a rejection.
    #[must_use]
    pub const fn ops(&self) -> Option<&Ops> {
        match self {
            Self::Opening { ops, .. }
            | Self::Expiry { ops }
            | Self::Mutation {
                outcome: Ok(ops), ..
            }
            | Self::Keyed {
                outcome: Ok(ops), ..
            } => Some(ops),
            Self::Mutation { .. } | Self::Deletion | Self::Keyed { .. } | Self::Close => None,
        }
    }

    /// Why it did nothing, if it is a rejection.
    #[must_use]
    pub const fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Mutation {
                outcome: Err(rejection),
                ..
            }
            | Self::Keyed {
                outcome: Err(rejection),
                ..
            } => Some(rejection),
            _ => None,
        }
    }

    /// Who made it, if it is an author's mutation.
    #[must_use]
    pub const fn author(&self) -> Option<&Author> {
        match self {
            Self::Mutation { author, .. } => Some(author),
            _ => None,
        }
    }
}

impl Entry {
    /// About what it costs, in memory and on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let ops = self.body.ops().map_or(0, |ops| ops.bytes().len());
        let rejection = self.body.rejection().map_or(0, |r| r.detail.len());
        64 + ops + rejection
    }
}
