//! What a channel asks of its log, and what the log's keeper answers.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::Cursor;

use super::{Entry, RunId, SnapshotName, StoredSnapshot};

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
    /// Keep a part of a snapshot, at most 512 KiB. It counts for nothing until the snapshot is put; parts of
    /// another cursor that were not, nobody needs any more.
    PutPart {
        /// Of which snapshot.
        cursor: Cursor,
        /// From 0 on.
        part: u32,
        /// What it says.
        bytes: Bytes,
    },
    /// The parts are all there: from now on they are the snapshot, in one step, and then entries up to
    /// `trim_through` may go. Only forward, only on the same line.
    PutSnapshot {
        /// Cursor, parts and digest.
        snapshot: SnapshotName,
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
        snapshot: Option<Arc<StoredSnapshot>>,
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
    /// To `Append`: the head is another one; nothing was appended. Catch up. To `PutSnapshot`: some of its
    /// parts are not there; put them again.
    Conflict,
    /// To `Append`, by a broker that cannot compare and append in one step: the entries were written, and count if
    /// they fit the entry before them (`Entry::previous_tag`). Read them back; who cannot be read was not appended.
    ReadBack,
    /// To `PutPart`.
    PartStored,
    /// To `PutSnapshot`, whether it was stored or was not newer.
    SnapshotStored,
    /// The broker could not answer. Whether an append happened is unknown: catch up before the next.
    Failed {
        /// For the log.
        detail: String,
    },
}
