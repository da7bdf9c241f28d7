//! Where a subscription stands, and what it has met so far.

/// A subscription's state (docs/protocol.md §5). For diagnosis; applications show [`crate::ChannelStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelState {
    /// No link has come yet.
    Idle,
    /// `subscribe` was sent.
    Subscribing,
    /// Answered, and behind the head.
    CatchingUp,
    /// At the head.
    Live,
    /// Something before the next patch is missing, and was asked for.
    Gap,
    /// A snapshot is arriving.
    Snapshotting,
    /// The link is gone, or the next subscribe on a living one has its time.
    Backoff,
    /// Paused by the application: the server was told `unsubscribe`.
    Suspended,
    /// Refused for good.
    Failed,
}

impl ChannelState {
    /// Every state, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Subscribing,
        Self::CatchingUp,
        Self::Live,
        Self::Gap,
        Self::Snapshotting,
        Self::Backoff,
        Self::Suspended,
        Self::Failed,
    ];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Subscribing => "subscribing",
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Gap => "gap",
            Self::Snapshotting => "snapshotting",
            Self::Backoff => "backoff",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
        }
    }

    /// A subscribe was answered: patches move the base, and rows may be pushed.
    pub(super) const fn is_streaming(self) -> bool {
        matches!(self, Self::CatchingUp | Self::Live | Self::Gap)
    }

    /// A subscribe waits for its answer, or for the rest of it.
    pub(super) const fn is_asking(self) -> bool {
        matches!(self, Self::Subscribing | Self::Snapshotting)
    }
}

/// What the stream of one channel has met since it was opened. For diagnosis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCounts {
    /// Frames that the state of their moment had no use for, and old ones.
    pub ignored: u64,
    /// Patches that waited for what comes before them.
    pub buffered: u64,
    /// Ranges asked for with `fetch`.
    pub fetches: u64,
    /// Subscribes sent.
    pub subscribes: u64,
    /// Times that nothing moved for too long in a state that expects it.
    pub stalls: u64,
    /// Snapshots begun.
    pub snapshots: u64,
}
