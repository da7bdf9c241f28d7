//! The outbox's store, as requests and replies. Where it stands (memory, disk, IndexedDB) is the driver's choice.
//!
//! Invariant: `n` is contiguous from 1 per channel and given with the row; nothing is sent before.

use std::sync::Arc;

use super::{MutateOptions, MutationHandle, MutationStatus};
use crate::channel::name::ChannelName;
use crate::sorted::SortedMap;
use crate::time::UnixTime;
use crate::wire::Change;

/// One durable transaction that the core asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxRequest {
    /// Write a row and give it the channel's next `n`. Reply: `Appended` or `AppendFailed`.
    Append {
        /// Which channel.
        channel: ChannelName,
        /// Whose reply it is.
        handle: MutationHandle,
        /// The row's content.
        changes: Arc<[Change]>,
        /// What it asks for besides.
        options: Arc<MutateOptions>,
        /// The end of its `ttl` in the server's time, as far as that is known yet.
        deadline: Option<UnixTime>,
    },
    /// Write down that rows are about to be sent, and their deadlines for ever. Nothing is sent before
    /// the reply: `Attempted`. So a row without this mark was never sent.
    Attempt {
        /// Which channel.
        channel: ChannelName,
        /// Which rows.
        rows: Vec<Attempt>,
    },
    /// Make rows that were never sent no-ops: their numbers stay, their content goes, their outcomes are
    /// kept. Reply: `Neutralised`.
    Neutralise {
        /// Which channel.
        channel: ChannelName,
        /// Which rows, and how each ended.
        rows: Vec<Settlement>,
    },
    /// Delete rows and keep their outcomes. Reply: `Settled`.
    Settle {
        /// Which channel.
        channel: ChannelName,
        /// Which rows, and how each ended; a no-op ends as it was neutralised.
        rows: Vec<Settlement>,
    },
}

/// A row that is about to be sent for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The row.
    pub handle: MutationHandle,
    /// Its number.
    pub n: u64,
    /// Its deadline in the server's time.
    pub deadline: UnixTime,
}

/// How one row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The row.
    pub handle: MutationHandle,
    /// Its number.
    pub n: u64,
    /// Its terminal status.
    pub status: MutationStatus,
}

/// What became of an [`OutboxRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxReply {
    /// The row is stored.
    Appended {
        /// Which row.
        handle: MutationHandle,
        /// Its number.
        n: u64,
    },
    /// The row could not be stored.
    AppendFailed {
        /// Which row.
        handle: MutationHandle,
        /// For people.
        detail: String,
    },
    /// The marks are stored; now the rows may be sent.
    Attempted {
        /// Which channel.
        channel: ChannelName,
        /// The same rows as in the request.
        rows: Vec<Attempt>,
    },
    /// The rows are no-ops and the outcomes are stored; now the application may be told.
    Neutralised {
        /// Which channel.
        channel: ChannelName,
        /// The same rows as in the request.
        rows: Vec<Settlement>,
    },
    /// The outcomes are stored; now the application may be told.
    Settled {
        /// Which channel.
        channel: ChannelName,
        /// The same rows as in the request.
        rows: Vec<Settlement>,
    },
}

/// The store that lives as long as its session: it only counts.
#[derive(Clone, Debug, Default)]
pub struct MemoryOutbox {
    last: SortedMap<ChannelName, u64>,
}

impl MemoryOutbox {
    /// Answers at once.
    pub fn handle(&mut self, request: OutboxRequest) -> OutboxReply {
        match request {
            OutboxRequest::Append {
                channel, handle, ..
            } => {
                let n = self.last.get(&channel).map_or(1, |last| last + 1);
                self.last.insert(channel, n);
                OutboxReply::Appended { handle, n }
            }
            OutboxRequest::Attempt { channel, rows } => OutboxReply::Attempted { channel, rows },
            OutboxRequest::Neutralise { channel, rows } => {
                OutboxReply::Neutralised { channel, rows }
            }
            OutboxRequest::Settle { channel, rows } => OutboxReply::Settled { channel, rows },
        }
    }
}
