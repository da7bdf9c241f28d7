//! Mutations: what the application asked for, from the call to its one outcome.

pub(crate) mod optimistic;
mod options;
mod outbox;
pub(crate) mod queue;

use std::fmt;

pub use options::MutateOptions;
pub use outbox::{MemoryOutbox, OutboxReply, OutboxRequest, Settlement};

use crate::channel::name::ChannelName;
use crate::wire::ErrorCode;

/// 128 random bits that name a store: one outbox, whatever tabs or processes share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MutationStatus {
    /// In the overlay and the outbox, not sent yet.
    Queued,
    /// Sent at least once.
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
    },
    /// It was sent, and nobody can say any more whether it was applied.
    Indeterminate,
    /// It was committed, and the server's history lost it.
    Lost,
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
            Self::Indeterminate => "indeterminate",
            Self::Lost => "lost",
        }
    }

    /// Whether nothing follows, except that `lost` may follow `committed`.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Committed | Self::Rejected { .. } | Self::Indeterminate | Self::Lost
        )
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
            Self::Invalid(rejection) => rejection.code.name(),
        }
    }
}
