//! The outbox's store, as requests and replies. Where it stands (memory, disk, IndexedDB) is the driver's choice.
//!
//! A row outlives the session that made it: its name is the channel and its number, and its content is
//! bytes that the store does not read. Several sessions may share a store; what each of them asks for is
//! one transaction, and the store's own words count, not what a session remembers.
//!
//! Invariant: `n` is contiguous from 1 per channel, given with the row and never changed. Nothing is
//! sent before the row carries its mark.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod judgement;
mod memory;

use bytes::Bytes;

pub use judgement::Judgement;
pub use memory::MemoryOutbox;

use super::{ClientId, Durability, MutationHandle, MutationStatus};
use crate::channel::name::ChannelName;
use crate::planted;
use crate::time::UnixTime;

/// How many numbers a row may be sent ahead of an undecided one that it comes after; every store of a session holds
/// to it. Policy at the limit: the row waits for that decision. The refusal has to stay listed at the server until both are decided, and
/// of those it lists 64: with more of them between the two, nothing could be decided any more.
pub const AHEAD_MAX: u64 = 32;

/// Keeps the outbox of one principal: what a driver carries out [`OutboxRequest`]s on.
///
/// Rules of the contract:
/// - Each request is one transaction. It happens as a whole, or the answer is [`OutboxReply::Failed`].
/// - Each request is answered once, in the order of the requests. [`OutboxReply::Foreign`] may come at
///   any time between the answers, and says what was true after the one before it.
/// - `Open` is answered always, and soon: a store that cannot open gives its place to a
///   [`MemoryOutbox`] and says so in [`Opened::durability`] and [`Opened::reason`].
/// - An answer to a request that [`OutboxRequest::is_strict`] means that what it wrote, and everything
///   written before it, survives a power cut.
/// - A store may forget how rows failed that are gone. Of their numbers it says `indeterminate` from then
///   on, never `committed`, and what comes after one of them fails with it.
/// - [`OutboxReply::Foreign`] goes the way that the driver that made the store has given it.
///
/// `D` is what a driver takes answers with: it may have to be `Send`, or must not be.
pub trait OutboxStore<D: FnOnce(OutboxReply)> {
    /// Carries out a request, and hands the answer to `done`, at once or later.
    fn request(&self, request: OutboxRequest, done: D);
}

/// One durable transaction that the core asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxRequest {
    /// Open the store. Nothing else is asked before the reply: `Opened`.
    Open {
        /// Whose it is, if the application says so before the server does.
        principal: Option<String>,
    },
    /// Read what is there of a channel. Nothing else is asked of the channel before the reply: `Loaded`.
    Load {
        /// Which channel.
        channel: ChannelName,
    },
    /// Write rows and give each the channel's next `n`, in order. Reply: `Appended`.
    Append {
        /// Which channel.
        channel: ChannelName,
        /// The rows.
        rows: Vec<NewRow>,
    },
    /// Mark rows as about to be sent, freeze their deadlines for ever, and read them. Strict.
    /// Reply: `Attempted`.
    ///
    /// Marks are set in the order of `n`, from the lowest row on, and none above a row without one. A
    /// row that comes after one that ended otherwise than committed becomes a no-op first; one that comes
    /// after a committed one that is gone comes after nothing any more. One that comes after an undecided row
    /// more than [`AHEAD_MAX`] below stays without a mark.
    Attempt {
        /// Which channel.
        channel: ChannelName,
        /// The first row that is to be read.
        from: u64,
        /// The last row that is to be marked and read.
        through: u64,
        /// The epoch that they are about to be sent in: the store keeps the highest one of each row.
        epoch: u64,
        /// The latest deadline, in the server's time; also that of no-ops and of rows without one.
        latest: UnixTime,
        /// Deadlines of rows that the session has learnt more about than the row says: the server's clock.
        deadlines: Vec<(u64, UnixTime)>,
    },
    /// Make rows that were never sent no-ops: their numbers stay, their content goes, their outcomes are
    /// kept. The mark in the store decides. Strict. Reply: `Neutralised`.
    Neutralise {
        /// Which channel.
        channel: ChannelName,
        /// Which rows, and how each ends.
        rows: Vec<Settlement>,
    },
    /// Delete rows and keep their outcomes. Reply: `Settled`.
    ///
    /// What was decided in a lower epoch than a session was about to send it in ends as indeterminate: nobody
    /// can say what became of it in the higher one's log.
    Settle {
        /// Which channel.
        channel: ChannelName,
        /// The epoch that this was seen in.
        epoch: u64,
        /// What proves it, if that is at hand: it is kept as by `KeepEpoch`, which may have failed and come later.
        /// Whoever comes next has to claim it, or a log of a lower one would seem to go on.
        proof: Bytes,
        /// Which rows, and how each ended; a no-op ends as it was neutralised.
        rows: Vec<Settlement>,
    },
    /// Judge what was committed in lower epochs than this base's: what the base does not hold is lost. What it
    /// holds was seen in its epoch from now on. Strict. Reply: `Judged`.
    ///
    /// Until then no `low` passes what is to be judged: the server must not take it for something that its
    /// author has given up, or nobody could judge it any more.
    Judge {
        /// Which channel.
        channel: ChannelName,
        /// What the base says.
        judgement: Judgement,
        /// As in `Settle`.
        proof: Bytes,
    },
    /// Keep the highest epoch seen, unless a higher one is kept already, and the newest proof of it.
    /// Reply: `Kept`.
    KeepEpoch {
        /// Which channel.
        channel: ChannelName,
        /// The epoch.
        epoch: u64,
        /// What proves to a server that it was opened.
        proof: Bytes,
        /// An epoch that no server knows any more: if that one is kept, this one takes its place. What was
        /// committed before, or is in that epoch, counts as seen in epoch 0. 0: none.
        given_up: u64,
    },
}

impl OutboxRequest {
    /// Whether its answer has to mean that a power cut takes nothing of it back, even where the store is
    /// relaxed otherwise: a row that was sent must never look as if it had not been, nor the other way
    /// round; and what is lost must not look committed again, once numbers above it are in the log.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        match self {
            Self::Attempt { .. } => !planted!(MarkNotStrict),
            Self::Neutralise { .. } | Self::Judge { .. } => true,
            Self::Settle { rows, .. } => rows.iter().any(|row| {
                matches!(
                    row.status,
                    MutationStatus::Lost | MutationStatus::Indeterminate
                )
            }),
            _ => false,
        }
    }

    /// Which channel it is about.
    #[must_use]
    pub const fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Open { .. } => None,
            Self::Load { channel }
            | Self::Append { channel, .. }
            | Self::Attempt { channel, .. }
            | Self::Neutralise { channel, .. }
            | Self::Settle { channel, .. }
            | Self::Judge { channel, .. }
            | Self::KeepEpoch { channel, .. } => Some(channel),
        }
    }
}

/// A row that has no number yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRow {
    /// Whose number the reply names.
    pub handle: MutationHandle,
    /// Changes and preconditions: an `Item` in Protobuf with these two fields alone.
    pub item: Bytes,
    /// The end of its `ttl` in the server's time, as far as that is known yet.
    pub deadline: Option<UnixTime>,
    /// What it comes after.
    pub after: After,
    /// How it ended already, if it did: it is written as a no-op that comes after nothing, and nobody ever
    /// sees it otherwise.
    pub ended: Option<MutationStatus>,
}

/// What a new row comes after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// The row of this number.
    Row(u64),
    /// The row that stands so many places before it in the same request.
    Back(usize),
}

/// A row as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Its number.
    pub n: u64,
    /// Its content; empty once it is a no-op.
    pub item: Bytes,
    /// Its deadline in the server's time; for ever from the first mark on.
    pub deadline: Option<UnixTime>,
    /// The number of the row that it comes after; 0 = none.
    pub after: u64,
    /// The number that it may have been sent as coming after, for as long as it lives; 0 = none. A copy of that is on its
    /// way perhaps, also once the other one was committed.
    pub sent_after: u64,
    /// How many times a session was about to send it; 0: it was never sent. More than 0 is the mark.
    pub attempts: u32,
    /// The highest epoch that a session was about to send it in.
    pub epoch: u64,
    /// How it ended before it was sent, if it did: it is a no-op that only its number is left of.
    pub ended: Option<MutationStatus>,
}

/// How one row ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// Its number.
    pub n: u64,
    /// Its terminal status.
    pub status: MutationStatus,
    /// How many attempts the store may have of it for this status to be right. With more of them others
    /// may have sent it too, and it ends as indeterminate.
    pub attempts_max: u32,
}

impl Settlement {
    /// Nobody here can say how it ended. Another session may have seen it: if the row is gone, it has ended
    /// as the store says.
    #[must_use]
    pub const fn unknown(n: u64) -> Self {
        Self {
            n,
            status: MutationStatus::Indeterminate,
            attempts_max: 0,
        }
    }

    /// What was found out before the store had said what a row is.
    pub(crate) fn as_known(n: u64, status: MutationStatus) -> Self {
        match status {
            MutationStatus::Indeterminate => Self::unknown(n),
            status => Self::of(n, status),
        }
    }

    /// What holds however often the row was sent: the log says so.
    #[must_use]
    pub const fn of(n: u64, status: MutationStatus) -> Self {
        Self {
            n,
            status,
            attempts_max: u32::MAX,
        }
    }
}

/// What a push may say as `low`, as of one transaction. In its epoch an older one is never too high; in a higher one
/// what was committed below it may be lost, and has to be judged first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Low {
    /// The lowest number that is in the store, or is still to be judged; else the next one.
    pub first: u64,
    /// The lowest number that a marked row was sent as coming after.
    pub after: Option<u64>,
    /// The highest epoch that was known of. No push of a higher one may say this.
    pub epoch: u64,
}

impl Low {
    /// The `low` of a push.
    ///
    /// A row that was sent to come after a refused one still needs that refusal at the server, so `low`
    /// stays at or below it; unless the server has said that it lacks numbers up to the first row: those
    /// close only by `low`.
    pub(crate) fn of(self, server_lacks_some: bool) -> u64 {
        match self.after {
            Some(after) if !server_lacks_some => after.min(self.first),
            _ => self.first,
        }
    }
}

/// A mutation that was committed and has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedRow {
    /// Its number.
    pub n: u64,
    /// The deadline that it had.
    pub deadline: UnixTime,
    /// The epoch that it was seen in: only a log of a higher one can have lost it. 0: in a log that was
    /// given up, so any other one can.
    pub epoch: u64,
}

/// What the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The id that the store has given itself: 128 random bits, for as long as it lives.
    pub client: ClientId,
    /// Whose it is, if that is known yet.
    pub principal: Option<String>,
    /// What it survives.
    pub durability: Durability,
    /// Why that is less than what was asked for.
    pub reason: Option<String>,
}

/// What a store has of a channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredChannel {
    /// The last number that was given.
    pub last_n: u64,
    /// All rows, by number.
    pub rows: Vec<OutboxRow>,
    /// What a push may say as `low`.
    pub low: Low,
    /// The highest epoch that any session on this store has seen.
    pub max_epoch: u64,
    /// The proof that came with it.
    pub proof: Bytes,
    /// The highest epoch that committed rows were judged by.
    pub judged: u64,
    /// What was committed lately, so that its loss can be told.
    pub committed: Vec<CommittedRow>,
    /// How rows ended that were not committed, the oldest first.
    pub failed: Vec<Settlement>,
}

/// What became of an [`OutboxRequest`], or of rows that other sessions wrote.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxReply {
    /// The store is open.
    Opened(Opened),
    /// What is there of a channel.
    Loaded {
        /// Which channel.
        channel: ChannelName,
        /// What is there.
        stored: StoredChannel,
    },
    /// The rows are stored.
    Appended {
        /// Which channel.
        channel: ChannelName,
        /// The number of each, as in the request.
        numbers: Vec<(MutationHandle, u64)>,
    },
    /// Marks and deadlines are stored: these rows may be sent, as they stand here.
    Attempted {
        /// Which channel.
        channel: ChannelName,
        /// The range that was asked for.
        from: u64,
        /// Its last number.
        through: u64,
        /// What their push may say as `low`.
        low: Low,
        /// All rows of the range that are there, by number; and before them the one that a row of the range has to
        /// wait for, if it lies below: who asks may not know of it.
        rows: Vec<OutboxRow>,
        /// Rows of the range that have ended otherwise than committed and are gone.
        ended: Vec<Settlement>,
        /// Rows of the range that other sessions have seen committed, and that are gone.
        committed: Vec<u64>,
        /// Some committed rows were seen in a lower epoch only, and are still to be judged.
        has_unjudged: bool,
    },
    /// Which rows are no-ops now, with outcomes that are stored: the application may be told.
    Neutralised {
        /// Which channel.
        channel: ChannelName,
        /// These are, and end as it says here.
        done: Vec<Settlement>,
        /// These carry a mark or are gone: only the server decides them.
        too_late: Vec<u64>,
    },
    /// The outcomes are stored; now the application may be told.
    Settled {
        /// Which channel.
        channel: ChannelName,
        /// How each row of the request ends for good.
        rows: Vec<Settlement>,
        /// Some committed rows were seen in a lower epoch only, and are still to be judged.
        has_unjudged: bool,
    },
    /// What was committed once and is so no more, as far as the store remembers it.
    Judged {
        /// Which channel.
        channel: ChannelName,
        /// How each of them ends instead.
        ended: Vec<Settlement>,
    },
    /// What is kept: another session may have seen a higher epoch.
    Kept {
        /// Which channel.
        channel: ChannelName,
        /// The highest epoch.
        epoch: u64,
        /// What proves that it was opened.
        proof: Bytes,
    },
    /// Other sessions wrote or changed rows: a hint. One that is lost costs time.
    Foreign {
        /// Which channel.
        channel: ChannelName,
        /// The rows as they are now.
        rows: Vec<OutboxRow>,
    },
    /// The transaction did not happen. New rows end as rejected; anything else is asked for again.
    Failed {
        /// What was asked for.
        request: Box<OutboxRequest>,
        /// For people.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::Low;

    #[test]
    fn low_keeps_the_refusal_that_a_sent_row_depends_on() {
        let low = |first, after, lacks| {
            let epoch = 5;
            Low {
                first,
                after,
                epoch,
            }
            .of(lacks)
        };
        assert_eq!(low(2, None, false), 2);
        assert_eq!(low(3, Some(1), false), 1);
        assert_eq!(low(3, Some(5), false), 3);
        let closes = low(3, Some(1), true);
        assert_eq!(closes, 3, "numbers are missing: only `low` closes that");
    }
}
