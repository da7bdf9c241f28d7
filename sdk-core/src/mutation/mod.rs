//! Mutations: what the application asked for, from the call to its one outcome.

pub(crate) mod dirty;
pub(crate) mod ended;
pub(crate) mod marks;
pub(crate) mod optimistic;
mod options;
pub(crate) mod outbox;
pub(crate) mod queue;

use std::fmt;

pub use dirty::Follow;
pub use options::{Durability, MutateOptions};
pub use outbox::{
    AHEAD_MAX, After, CommittedRow, Judgement, Low, MemoryOutbox, NewRow, Opened, OutboxReply,
    OutboxRequest, OutboxRow, OutboxStore, Settlement, StoredChannel,
};

use crate::channel::name::ChannelName;
use crate::document::Record;
use crate::wire::ErrorCode;

/// 128 random bits that name a store: one outbox, whatever tabs or processes share it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub [u8; 16]);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

/// Names a mutation inside one session, from the call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MutationHandle(pub u64);

/// Names a mutation for ever; text `client:n@channel`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MutationId {
    /// Whose.
    pub client: ClientId,
    /// Where.
    pub channel: ChannelName,
    /// Contiguous from 1 per (client, channel).
    pub n: u64,
}

impl fmt::Display for MutationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", self.client, self.n, self.channel)
    }
}

/// Where a mutation stands (docs/protocol.md §4).
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MutationStatus {
    /// In the overlay and the outbox, not sent yet.
    Queued,
    /// The store knows that it is being sent: from now on only the server decides it.
    Attempted,
    /// The server says it is logged; a hint.
    Accepted {
        /// Where in the log.
        seq: u64,
    },
    /// The base contains it.
    Committed,
    /// The server refused it, or nobody could keep it; its overlay is gone.
    Rejected {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        detail: String,
        /// With preconditions and refused by the log: the record of the first one that does not hold
        /// any more, else of the first one, as the server has it. `None`: absent, or not known.
        current: Option<Record>,
    },
    /// Its deadline passed before the server decided; nothing of it was applied.
    Expired,
    /// Taken back, or made superfluous by a newer one, before it was sent.
    Cancelled,
    /// It was sent, and nobody can say any more whether it was applied.
    Indeterminate,
    /// It was committed, and the server's history lost it.
    Lost,
}

impl Clone for MutationStatus {
    /// A status is copied at dozens of places: derived, this would be inlined at each of them.
    #[inline(never)]
    fn clone(&self) -> Self {
        match self {
            Self::Queued => Self::Queued,
            Self::Attempted => Self::Attempted,
            Self::Accepted { seq } => Self::Accepted { seq: *seq },
            Self::Committed => Self::Committed,
            Self::Rejected {
                code,
                detail,
                current,
            } => Self::Rejected {
                code: *code,
                detail: detail.clone(),
                current: current.clone(),
            },
            Self::Expired => Self::Expired,
            Self::Cancelled => Self::Cancelled,
            Self::Indeterminate => Self::Indeterminate,
            Self::Lost => Self::Lost,
        }
    }
}

impl MutationStatus {
    /// The stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Attempted => "attempted",
            Self::Accepted { .. } => "accepted",
            Self::Committed => "committed",
            Self::Rejected { .. } => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Indeterminate => "indeterminate",
            Self::Lost => "lost",
        }
    }

    /// Whether nothing follows, except that `lost` or `indeterminate` may follow `committed`.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        !matches!(self, Self::Queued | Self::Attempted | Self::Accepted { .. })
    }

    /// The same without a reading of the record: for what ends outside the log.
    pub(crate) const fn rejected(code: ErrorCode, detail: String) -> Self {
        Self::Rejected {
            code,
            detail,
            current: None,
        }
    }

    pub(crate) fn dep_failed() -> Self {
        let detail = "the mutation that this one comes after was not committed";
        Self::rejected(ErrorCode::DepFailed, detail.into())
    }
}

/// Why a mutation was not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MutateError {
    /// The channel was never subscribed or was let go.
    #[error("channel is not open: subscribe first")]
    NoSuchChannel,
    /// The session was closed.
    #[error("the client is closed")]
    Closed,
    /// The channel cannot be used.
    #[error("the channel has failed: {0}")]
    ChannelFailed(ErrorCode),
    /// The outbox is full; nothing is evicted.
    #[error("outbox is full: {rows} mutations wait for the server")]
    QueueFull {
        /// How many wait.
        rows: usize,
    },
    /// `after` names no earlier mutation of the channel, or one that ended too long ago.
    #[error("the mutation named by `after` is not known on this channel")]
    UnknownDependency,
    /// `require_durable`, and the outbox is in memory only.
    #[error("the outbox is in memory only, and the mutation must outlive the process")]
    NotDurable,
    /// A name, value or size breaks a rule.
    #[error(transparent)]
    Invalid(#[from] crate::document::Rejection),
}

impl MutateError {
    /// The stable name, what JavaScript sees as `code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchChannel => "no_such_channel",
            Self::Closed => "closed",
            Self::ChannelFailed(code) => code.name(),
            Self::QueueFull { .. } => "queue_full",
            Self::UnknownDependency => "invalid",
            Self::NotDurable => "not_durable",
            Self::Invalid(rejection) => rejection.code.name(),
        }
    }
}

/// Why a mutation was not taken back. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// It may have been sent: only the server decides it now.
    #[error("too late: the mutation is on its way to the server")]
    Sent,
    /// It has ended already.
    #[error("too late: the mutation has ended")]
    Ended,
    /// The session never made it, or it ended too long ago.
    #[error("no such mutation")]
    NoSuchMutation,
}

impl CancelError {
    /// The stable name, what JavaScript sees as `code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Sent => "already_sent",
            Self::Ended => "already_ended",
            Self::NoSuchMutation => "no_such_mutation",
        }
    }
}
