//! The outbox's store, as requests and replies. Where it stands (memory, disk, IndexedDB) is the driver's choice.
//!
//! Invariant: `n` is contiguous from 1 per channel and given with the row; nothing is sent before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MutationHandle, MutationStatus};
use crate::channel::name::ChannelName;
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
    },
    /// Delete rows and keep their outcomes. Reply: `Settled`.
    Settle {
        /// Which channel.
        channel: ChannelName,
        /// Which rows, and how each ended.
        rows: Vec<Settlement>,
    },
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
    last: BTreeMap<ChannelName, u64>,
}

impl MemoryOutbox {
    /// Answers at once.
    pub fn handle(&mut self, request: OutboxRequest) -> OutboxReply {
        match request {
            OutboxRequest::Append {
                channel, handle, ..
            } => {
                let last = self.last.entry(channel).or_default();
                *last += 1;
                OutboxReply::Appended { handle, n: *last }
            }
            OutboxRequest::Settle { channel, rows } => OutboxReply::Settled { channel, rows },
        }
    }
}
