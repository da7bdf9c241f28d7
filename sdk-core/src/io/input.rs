//! Everything that the world can tell the core.

use std::time::Duration;

use bytes::Bytes;

use crate::event_stream::StreamEvent;
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
    /// A stream of server-sent events down, POSTs up.
    Sse,
    /// Numbered polls down, POSTs up.
    LongPoll,
}

impl TransportKind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "long-poll",
        }
    }
}

/// One HTTP request. No two of a session have the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What came of a request over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status of an answer that is whole and, if it is 200, of the media type that was asked for. 0: there
    /// was none, it broke off, or it was something else; `detail` says what.
    pub status: u16,
    /// Its `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The driver had no place for a request that waits, and told the server `Prefer: wait=0`: the next poll
    /// comes after a pause. Polls alone.
    pub unheld: bool,
    /// The body, undecoded, of any status. The driver gives up on one over `frame_down_bytes`: status 0.
    pub body: Bytes,
    /// For people.
    pub detail: String,
}

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// The server: status 200 with the body `live`.
    Live,
    /// Somebody else answers in its place.
    Stranger,
    /// Nobody, or a proxy that says it cannot reach the server (a status from 500).
    Nobody,
}

/// What a driver hands to [`crate::Session::handle_input`].
///
/// Exhaustive on purpose: a new variant should break every driver at compile time.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link that [`crate::Output::Open`] asked for is up, and its first bytes are on their way; or the first
    /// byte of the stream that a [`crate::Output::Request`] asked for has come.
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
    /// A stream brought an event.
    Event {
        /// Which link.
        conn: ConnId,
        /// It, read by the grammar of server-sent events alone.
        event: StreamEvent,
    },
    /// The answer to a [`crate::Output::Request`]. Each request has one, but for a stream that was answered as a
    /// stream (`Opened`, `Event`s, `Closed`), one that was aborted, and those of a link that the core has closed.
    Response {
        /// Which link.
        conn: ConnId,
        /// Which request.
        request: RequestId,
        /// What came.
        response: HttpResponse,
    },
    /// The answer to [`crate::Output::Probe`].
    Probed {
        /// Which probe.
        probe: u64,
        /// What it has found.
        found: Probed,
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
