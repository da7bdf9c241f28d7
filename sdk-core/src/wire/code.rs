//! Numbers that travel: error codes and WebSocket close codes. A number is never used again.

use std::fmt;

/// Who can do something about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actor {
    /// The code that called tidewire.
    Caller,
    /// Whoever wrote the peer: it broke the protocol.
    Peer,
    /// The client itself, without anybody's help.
    Client,
    /// Whoever hands out tokens and grants.
    Auth,
    /// Nobody: wait and try again.
    Time,
    /// Whoever runs the server.
    Operator,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $number:literal, $name:literal, $actor:ident, $retryable:literal;)*) => {
        /// Why something was refused, on the wire as a number, for programs as a name.
        ///
        /// Source: docs/protocol.md, "Codes".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* $variant = $number,)*
        }

        impl ErrorCode {
            /// Every code, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code of a number, `None` for one that this version does not know.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The stable name, what JavaScript sees as `code`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Who can act on it.
            #[must_use]
            pub const fn actor(self) -> Actor {
                match self { $(Self::$variant => Actor::$actor,)* }
            }

            /// Whether the same request may succeed later, unchanged.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }
        }
    };
}

impl ErrorCode {
    /// Whether this code about a channel means that the subscription is over.
    #[must_use]
    pub const fn ends_channel(self) -> bool {
        matches!(
            self,
            Self::Forbidden
                | Self::InvalidChannel
                | Self::UnknownChannel
                | Self::WrongKind
                | Self::TooManySubscriptions
        )
    }
}

codes! {
    /// The bytes are not a frame.
    Malformed = 1001, "malformed", Peer, false;
    /// A message is larger than the limit that `welcome` stated.
    FrameTooLarge = 1002, "frame_too_large", Peer, false;
    /// The protocol version of `hello` is not spoken here.
    UnsupportedVersion = 1003, "unsupported_version", Peer, false;
    /// A frame or op type that this version does not know.
    UnknownFrame = 1004, "unknown_frame", Peer, false;
    /// A frame that is not allowed now, or a field out of its contract.
    UnexpectedFrame = 1005, "unexpected_frame", Peer, false;
    /// No `hello` within its time limit.
    HelloTimeout = 1006, "hello_timeout", Peer, true;
    /// Nothing was heard from the peer for too long.
    HeartbeatTimeout = 1007, "heartbeat_timeout", Time, true;
    /// The frame is known but this server does not offer what it asks for.
    Unsupported = 1008, "unsupported", Operator, false;
    /// A fault inside the server; it stands in the server's log.
    Internal = 1009, "internal", Operator, true;
    /// The server is going away.
    GoingAway = 1010, "going_away", Time, true;

    /// The token is not accepted: get another one, or sign in.
    Unauthenticated = 2001, "unauthenticated", Auth, false;
    /// The token was good and has expired: a new one will do.
    TokenExpired = 2002, "token_expired", Auth, true;
    /// The server could not check the token just now.
    AuthUnavailable = 2003, "auth_unavailable", Time, true;
    /// The principal may not do this on this channel.
    Forbidden = 2004, "forbidden", Auth, false;

    /// The principal's rights were taken away: nobody signs in with this token again.
    Revoked = 2005, "revoked", Auth, false;
    /// The store, or the session, belongs to another principal.
    WrongPrincipal = 2006, "wrong_principal", Auth, false;

    /// The mutation breaks a rule of the data model.
    Invalid = 3001, "invalid", Caller, false;
    /// `set`, `unset` or `inc` on a record that does not exist.
    NotFound = 3002, "not_found", Caller, false;
    /// A precondition did not hold.
    Conflict = 3003, "conflict", Caller, false;
    /// A mutation, record or value over its size limit.
    TooLarge = 3004, "too_large", Caller, false;
    /// The deadline passed before the server saw it.
    Expired = 3005, "expired", Time, false;
    /// The mutation that this one depends on was not committed.
    DepFailed = 3006, "dep_failed", Caller, false;
    /// The application's own `validate` said no; `detail` says why.
    Refused = 3007, "refused", Caller, false;
    /// The same idempotency key came with another request.
    IdempotencyMismatch = 3008, "idempotency_mismatch", Caller, false;
    /// Two copies of one store have given the same number to different mutations.
    Fork = 3009, "fork", Client, false;

    /// Too much at once: try again after `retry_ms`.
    Overloaded = 4001, "overloaded", Time, true;
    /// The channel is served elsewhere.
    Moved = 4002, "moved", Time, true;
    /// A grant needs a fresh token first.
    AuthRequired = 4003, "auth_required", Auth, true;
    /// The push was decided in an epoch that the log has left.
    StaleEpoch = 4004, "stale_epoch", Time, true;
    /// A bounded queue ran over.
    BackpressureOverflow = 4005, "backpressure_overflow", Time, true;
    /// The state must be fetched again.
    RecoveryRequired = 4006, "recovery_required", Time, true;
    /// The connection read too slowly and its policy is to close.
    SlowConsumer = 4007, "slow_consumer", Time, true;
    /// More subscriptions than the limit in `welcome`.
    TooManySubscriptions = 4008, "too_many_subscriptions", Caller, false;
    /// More peers are present than the channel takes.
    PresenceFull = 4009, "presence_full", Time, true;
    /// Rejections of this client pile up unread.
    RejectionsFull = 4010, "rejections_full", Time, true;
    /// More requests than the rate that is allowed: try again after `retry_ms`.
    RateLimited = 4011, "rate_limited", Time, true;
    /// The channel takes mutations of a newer version of the application only.
    UpgradeRequired = 4012, "upgrade_required", Operator, false;

    /// No such route.
    InvalidRoute = 5001, "invalid_route", Caller, false;
    /// The arguments of a call do not fit its route.
    InvalidArgs = 5002, "invalid_args", Caller, false;
    /// The route did not answer in time.
    RouteTimeout = 5003, "route_timeout", Time, true;
    /// The route failed.
    RouteFailed = 5004, "route_failed", Caller, false;

    /// The channel's name breaks the rules, or its namespace is not configured.
    InvalidChannel = 6001, "invalid_channel", Caller, false;
    /// The channel does not exist and is not created on use.
    UnknownChannel = 6002, "unknown_channel", Caller, false;
    /// The channel's kind does not offer this.
    WrongKind = 6003, "wrong_kind", Caller, false;
    /// The stream was closed: nothing more is appended.
    StreamClosed = 6004, "stream_closed", Caller, false;
    /// The messages asked for are no longer kept.
    HistoryTrimmed = 6005, "history_trimmed", Caller, false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// WebSocket close codes (RFC 6455 §7.4) as the server uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[non_exhaustive]
pub enum CloseCode {
    /// Either side is done.
    Normal = 1000,
    /// The server drains.
    GoingAway = 1001,
    /// Malformed or unexpected frames.
    ProtocolError = 1002,
    /// Text where binary was agreed, or the other way round.
    UnsupportedData = 1003,
    /// Not authenticated, no hello, forbidden.
    PolicyViolation = 1008,
    /// A message over the limit.
    TooBig = 1009,
    /// The server failed.
    Internal = 1011,
    /// Try again later.
    TryAgainLater = 1013,
}

impl CloseCode {
    /// The close code that goes with a fatal error.
    #[must_use]
    pub const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::FrameTooLarge => Self::TooBig,
            ErrorCode::Unauthenticated
            | ErrorCode::TokenExpired
            | ErrorCode::HelloTimeout
            | ErrorCode::Revoked
            | ErrorCode::WrongPrincipal
            | ErrorCode::Forbidden => Self::PolicyViolation,
            ErrorCode::GoingAway => Self::GoingAway,
            ErrorCode::Internal => Self::Internal,
            ErrorCode::AuthUnavailable
            | ErrorCode::Overloaded
            | ErrorCode::RateLimited
            | ErrorCode::SlowConsumer
            | ErrorCode::BackpressureOverflow => Self::TryAgainLater,
            _ => Self::ProtocolError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        for (i, a) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::from_number(*a as u32), Some(*a));
            for b in &ErrorCode::ALL[i + 1..] {
                assert_ne!(*a as u32, *b as u32);
                assert_ne!(a.name(), b.name());
            }
        }
    }
}
