//! What applications see of a channel.

use crate::wire::ErrorCode;

/// Names a subscribed channel inside one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// Why a channel is not live for longer than a moment: the server gives no answer for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelDelay {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub detail: String,
}

/// A channel's state as applications see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelStatus {
    /// No view to show yet: the base has not been at the head of the log since the channel was opened.
    Loading,
    /// The view is at the head of the log.
    Live,
    /// There is a view, but the channel is not (yet again) at the head.
    Stale,
    /// The server refuses the channel; nothing more comes.
    Failed {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        detail: String,
    },
}

impl ChannelStatus {
    /// The stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Failed { .. } => "failed",
        }
    }
}
