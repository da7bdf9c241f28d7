//! Everything that the world can tell the core.

use std::time::Duration;

use bytes::Bytes;

use crate::mutation::OutboxReply;

/// One transport attempt. A session has at most two at a time; what is tagged with another is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// One WebSocket, both directions.
    WebSocket,
}

impl TransportKind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// What a driver hands to [`crate::Session::handle_input`].
///
/// Exhaustive on purpose: a new variant should break every driver at compile time.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link that [`crate::Output::Open`] asked for is up, and its first bytes are on their way.
    Opened {
        /// Which link.
        conn: ConnId,
    },
    /// One message arrived, in the order of the link.
    Received {
        /// Which link.
        conn: ConnId,
        /// `Frames`, undecoded.
        message: Bytes,
    },
    /// A message could not be sent. On a link that keeps order nothing may follow it: the core closes it.
    SendFailed {
        /// Which link.
        conn: ConnId,
        /// What the driver knows about it.
        reason: LinkClosed,
    },
    /// The link failed to open, or is gone.
    Closed {
        /// Which link.
        conn: ConnId,
        /// What the driver knows about it.
        reason: LinkClosed,
    },
    /// The answer to [`crate::Output::FetchToken`].
    Token(Result<String, TokenError>),
    /// The answer to an [`crate::Output::Outbox`], in the order of the requests.
    Outbox(OutboxReply),
    /// What the platform believes about the network.
    Network(NetworkHint),
    /// The time that [`crate::Output::Wait`] named has come. Early ones are harmless.
    Timeout,
}

/// How a link ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkClosed {
    /// How far it had come.
    pub stage: LinkStage,
    /// The WebSocket close code, if there was a close frame.
    pub code: Option<u16>,
    /// The status of an HTTP answer that refused it, where the platform tells.
    pub http_status: Option<u16>,
    /// `Retry-After` of such an answer.
    pub retry_after: Option<Duration>,
    /// For people.
    pub detail: String,
}

/// How far a link had come when it ended, as its driver saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkStage {
    /// It never came up.
    #[default]
    Dialling,
    /// It came up, and nothing was heard on it.
    Opened,
    /// The server had sent something.
    Talking,
}

/// Why the application could not hand out a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TokenError {
    /// `false`: stop connecting until the application calls `connect` again.
    pub retryable: bool,
    /// For people.
    pub detail: String,
}

/// Hints; none of them is trusted, all of them only hurry things up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkHint {
    /// The platform says that there is a network: retry now, probe a living link.
    Online,
    /// The platform says that there is none: probe a living link.
    Offline,
    /// The program was asleep, frozen or hidden and is back: retry now, probe a living link.
    Resumed,
    /// The program is about to be frozen, its page perhaps kept in the back-forward cache: leave, and
    /// try nothing until `Resumed`.
    Frozen,
}
