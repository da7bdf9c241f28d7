//! Everything that the core can ask for or tell.

use bytes::Bytes;

use super::input::{ConnId, RequestId, TokenError, TransportKind};
use crate::channel::status::{ChannelDelay, ChannelId, ChannelStatus};
use crate::document::RecordKey;
use crate::mutation::{MutationHandle, MutationStatus, OutboxRequest};
use crate::time::{MonoTime, UnixTime};
use crate::wire::{CloseCode, Cursor, ErrorCode};

/// What [`crate::Session::poll_output`] hands to the driver.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a WebSocket beside the links that are open; answer with `Opened` or `Closed`.
    ///
    /// There are never more than two links: the next one while the session moves, and the current one.
    Open {
        /// The new link's number.
        conn: ConnId,
        /// The first message, encoded: sent as soon as the link is up.
        first: Bytes,
    },
    /// Do one HTTP request; answer with `Response`. A link over HTTP is what its requests are: its first one opens
    /// it. Only a driver whose [`crate::Config::transports`] offer HTTP is asked.
    ///
    /// `POST` to the door's URL, the body as it is, with the codec's media type as `Content-Type`; no redirect is
    /// followed. A response of `text/event-stream` to [`Door::Stream`] is a stream: `Opened` with its first
    /// byte, an `Event` for each event, `Closed` when it ends.
    Request {
        /// Whose it is.
        conn: ConnId,
        /// Its number.
        request: RequestId,
        /// Where to.
        door: Door,
        /// `Frames`, encoded.
        body: Bytes,
        /// Nobody waits for its answer, and `Close` does not end it: it may outlive its link, and the page
        /// (`keepalive`).
        last: bool,
    },
    /// Give a request up: whatever comes of it is not wanted. One that is over is nothing to give up.
    Abort {
        /// Whose it is.
        conn: ConnId,
        /// Which.
        request: RequestId,
    },
    /// Find out who answers: `GET /health/live?PROBE` under the base path, `no-store`, following no redirect; answer
    /// with `Probed`, of the newest probe alone. Only a driver that offers several transports is asked.
    Probe {
        /// Makes each URL a new one.
        probe: u64,
    },
    /// Send one message on a WebSocket.
    Send {
        /// On which link.
        conn: ConnId,
        /// `Frames`, encoded.
        message: Bytes,
    },
    /// Close a link. No `Closed` is expected; a late one is ignored. Over HTTP: give up its requests, but the
    /// `last` one; also those that are left when its stream is `Closed`.
    Close {
        /// Which link.
        conn: ConnId,
        /// With which WebSocket close code.
        code: CloseCode,
    },
    /// Ask the application for a token; answer with `Input::Token`. Never two at a time.
    FetchToken,
    /// Change the outbox's store; answer with `Input::Outbox`, in order.
    Outbox(OutboxRequest),
    /// Tell the application.
    Event(Event),
    /// The queue is empty. Sleep until an input, a command or this moment.
    Wait(Option<MonoTime>),
}

/// Where a request over HTTP goes, under the base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// `/v1/sse`: answered with a stream that lasts.
    Stream,
    /// `/v1/poll`: held until there is something to say. A driver that cannot hold it says `Prefer: wait=0`.
    Poll,
    /// `/v1/push`: answered soon.
    Push,
}

impl Door {
    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Stream => "/v1/sse",
            Self::Poll => "/v1/poll",
            Self::Push => "/v1/push",
        }
    }
}

/// What an application may want to know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection's state changed.
    Connection(ConnectionState),
    /// A channel's state changed.
    Channel {
        /// Which channel.
        channel: ChannelId,
        /// Its state now.
        status: ChannelStatus,
        /// Why it is loading or stale, if the server gives no answer for now.
        delay: Option<ChannelDelay>,
    },
    /// These records look different now; pull what you show.
    Changed {
        /// Which channel.
        channel: ChannelId,
        /// Each record once, sorted.
        records: Vec<RecordKey>,
    },
    /// A subscribe was answered: how the channel came back to the head.
    Recovered {
        /// Which channel.
        channel: ChannelId,
        /// By which way.
        recovery: Recovery,
    },
    /// The server's log no longer contains what this client had seen.
    HistoryLost {
        /// Which channel.
        channel: ChannelId,
        /// What this client had.
        from: Cursor,
        /// What it has now.
        to: Cursor,
    },
    /// A mutation moved on. The last one of a handle is terminal, except that `lost` may follow `committed`.
    Mutation {
        /// Which channel.
        channel: ChannelId,
        /// Which mutation.
        handle: MutationHandle,
        /// Its number, once the store has the row; with client and channel it makes a
        /// [`crate::MutationId`].
        n: Option<u64>,
        /// Where it stands.
        status: MutationStatus,
    },
    /// Who is present changed.
    Presence {
        /// Which channel.
        channel: ChannelId,
    },
    /// The server answered something that ends neither connection, channel nor mutation.
    Warning {
        /// Which channel, if any.
        channel: Option<ChannelId>,
        /// What it said.
        code: ErrorCode,
        /// For people.
        detail: String,
    },
}

/// How a channel came back to the head of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing was missed.
    Resumed,
    /// What was missed was replayed.
    Replayed {
        /// How many log entries.
        entries: u64,
    },
    /// The whole state was sent.
    Snapshot,
}

/// The life of a connection as applications see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// Where it stands.
    pub phase: ConnectionPhase,
    /// Over which transport, once connecting.
    pub transport: Option<TransportKind>,
    /// Since when, on the machine's clock.
    pub since: UnixTime,
    /// Why it came to stand there, if something went wrong.
    pub reason: Option<Reason>,
}

impl ConnectionState {
    /// Whether the server hears us: what is changed now is on its way to it.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        matches!(
            self.phase,
            ConnectionPhase::Connected | ConnectionPhase::Draining
        )
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// Nobody asked for a connection yet.
    Idle,
    /// Token, link and handshake are under way.
    Connecting,
    /// The server said welcome.
    Connected,
    /// The link is gone; the next attempt waits for its time.
    Waiting,
    /// The server asked to move: the link goes on until the next one has taken over.
    Draining,
    /// Over, by the application's wish or for a reason that a retry cannot mend.
    Closed,
}

impl ConnectionPhase {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The application closed it.
    Application,
    /// The link could not be opened or broke.
    Network {
        /// What the driver said.
        detail: String,
    },
    /// Somebody else answers in the server's place: a network that wants a sign-in first.
    Blocked {
        /// How the last attempt failed, as far as that says anything.
        detail: String,
    },
    /// Nothing was heard for too long.
    Timeout,
    /// The page or program was frozen.
    Suspended,
    /// The server drains.
    Goaway {
        /// What the server said.
        detail: String,
    },
    /// The server refused us.
    Refused {
        /// Its code.
        code: ErrorCode,
        /// What it said.
        detail: String,
    },
    /// We refused what the server sent.
    Violated {
        /// Which rule.
        code: ErrorCode,
    },
    /// The application could not hand out a token.
    Token {
        /// Whether trying again may help.
        retryable: bool,
        /// What the application said.
        detail: String,
    },
    /// The allowed number of attempts is used up.
    GaveUp {
        /// Why the last one failed.
        cause: Box<Self>,
    },
}

impl From<TokenError> for Reason {
    fn from(error: TokenError) -> Self {
        Self::Token {
            retryable: error.retryable,
            detail: error.detail,
        }
    }
}

impl Reason {
    /// The stable name, what JavaScript sees as `code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Application => "closed",
            Self::Network { .. } => "network",
            Self::Blocked { .. } => "blocked",
            Self::Timeout => "heartbeat_timeout",
            Self::Suspended => "suspended",
            Self::Goaway { .. } => "going_away",
            Self::Refused { code, .. } | Self::Violated { code } => code.name(),
            Self::Token { .. } => "token",
            Self::GaveUp { .. } => "gave_up",
        }
    }

    /// For people.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Application => "closed by the application".into(),
            Self::Network { detail } | Self::Goaway { detail } | Self::Token { detail, .. } => {
                detail.clone()
            }
            Self::Blocked { detail } => {
                let more = if detail.is_empty() { "" } else { ": " };
                format!(
                    "another server answers in this one's place, as networks do that want a sign-in first{more}{detail}"
                )
            }
            Self::Timeout => "nothing was heard from the server for too long".into(),
            Self::Suspended => "the page or program is frozen".into(),
            Self::Refused { detail, .. } => detail.clone(),
            Self::Violated { .. } => "the server sent what the protocol does not allow".into(),
            Self::GaveUp { cause } => {
                let cause = cause.detail();
                format!("the allowed number of attempts is used up; the last one failed: {cause}")
            }
        }
    }

    /// Whether the session tries again by itself.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Application | Self::GaveUp { .. } => false,
            Self::Network { .. }
            | Self::Blocked { .. }
            | Self::Timeout
            | Self::Suspended
            | Self::Goaway { .. } => true,
            // A bug on one side: a new link starts clean, and back-off bounds the noise.
            Self::Violated { .. } => true,
            Self::Refused { code, .. } => code.is_retryable(),
            Self::Token { retryable, .. } => *retryable,
        }
    }
}
