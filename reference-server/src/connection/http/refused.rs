//! Requests that are not done: a status, and why.

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{Codec, ErrorCode, ErrorFrame, ServerKind, cut_detail};

/// Why a request is not done. No frame behind its `hello` was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of HTTP.
    pub status: u16,
    /// Which rule was broken.
    pub code: ErrorCode,
    /// When to come again.
    pub retry_ms: Option<u32>,
    /// What to do instead, in words.
    pub detail: String,
}

impl Refused {
    /// With the status that goes with the code.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            status: status(code),
            code,
            retry_ms: None,
            detail: detail.into(),
        }
    }

    /// With another status.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// To come again after this.
    #[must_use]
    pub const fn after_ms(mut self, retry_ms: u32) -> Self {
        self.retry_ms = Some(retry_ms);
        self
    }

    /// The session is not here: the client opens another one, with what it has.
    #[must_use]
    pub fn moved() -> Self {
        Self::new(
            ErrorCode::Moved,
            "this session has ended, or its node has; open another one",
        )
    }

    /// One fatal error in a codec.
    #[must_use]
    pub fn body(&self, codec: Codec) -> Bytes {
        let mut body = BytesMut::new();
        let frame = ErrorFrame {
            code: self.code as u32,
            fatal: true,
            retry_ms: self.retry_ms,
            detail: cut_detail(self.detail.clone()),
            ..ErrorFrame::default()
        };
        codec.encode_server(ServerKind::Error(frame), &mut body);
        body.freeze()
    }

    /// What a request is refused with whose session ended before it let anybody in: the fatal error that it
    /// would have said over a WebSocket. `None`: the message says something else.
    #[must_use]
    pub fn of_message(codec: Codec, message: &Bytes) -> Option<Self> {
        let frames = codec.decode_server(message.clone(), message.len()).ok()?;
        let ServerKind::Error(error) = frames.into_iter().next()? else {
            return None;
        };
        let code = ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Internal);
        let refused = Self {
            retry_ms: error.retry_ms,
            ..Self::new(code, error.detail)
        };
        error.fatal.then_some(refused)
    }
}

/// The status of a request that is refused with a code.
const fn status(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::Unauthenticated | ErrorCode::TokenExpired | ErrorCode::Revoked => 401,
        ErrorCode::Forbidden | ErrorCode::WrongPrincipal => 403,
        ErrorCode::Unsupported => 404,
        ErrorCode::HelloTimeout => 408,
        ErrorCode::Moved => 410,
        ErrorCode::FrameTooLarge => 413,
        ErrorCode::RateLimited => 429,
        ErrorCode::Internal => 500,
        ErrorCode::GoingAway
        | ErrorCode::Overloaded
        | ErrorCode::AuthUnavailable
        | ErrorCode::BackpressureOverflow
        | ErrorCode::SlowConsumer => 503,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fatal_error_comes_back_as_the_refusal_that_it_is() {
        for codec in [Codec::Protobuf, Codec::Json] {
            let refused = Refused::new(ErrorCode::TokenExpired, "the token has expired");
            let body = refused.body(codec);
            assert_eq!(Refused::of_message(codec, &body), Some(refused));
            let none = Bytes::from_static(super::super::no_frames(codec));
            assert_eq!(Refused::of_message(codec, &none), None);
        }
    }
}
