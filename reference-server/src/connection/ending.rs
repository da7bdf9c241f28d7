//! How a connection ends.

use tidewire_core::wire::{CloseCode, ErrorCode};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client closed it, for good.
    Client,
    /// The client closed this link, and may be there on another one.
    Away,
    /// The link broke.
    Broken,
    /// The server refused or ended it with this code.
    Code(ErrorCode),
}

/// How a connection ends: why, and what its link still says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// `None`: the link is broken, there is nobody to tell.
    pub close: Option<CloseCode>,
}

impl Ending {
    /// The link is gone.
    pub const BROKEN: Self = Self {
        reason: EndReason::Broken,
        close: None,
    };

    /// The client has closed.
    pub const CLIENT: Self = Self {
        reason: EndReason::Client,
        close: Some(CloseCode::Normal),
    };

    /// The client has closed with another code than 1000: it goes on elsewhere, or its page was closed.
    pub const AWAY: Self = Self {
        reason: EndReason::Away,
        close: Some(CloseCode::Normal),
    };

    /// Text where binary was agreed, or the other way round.
    pub const WRONG_CODEC: Self = Self {
        reason: EndReason::Code(ErrorCode::Malformed),
        close: Some(CloseCode::UnsupportedData),
    };

    /// The client reads nothing: it could not be told why.
    pub const UNREAD: Self = Self {
        reason: EndReason::Code(ErrorCode::SlowConsumer),
        close: None,
    };

    /// With the close code that goes with an error.
    #[must_use]
    pub const fn of(code: ErrorCode) -> Self {
        Self {
            reason: EndReason::Code(code),
            close: Some(CloseCode::of(code)),
        }
    }
}

/// Why a connection ends by its own doing: what its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How it ends.
    pub ending: Ending,
    /// Which rule was broken.
    pub code: ErrorCode,
    /// What to do instead, in words.
    pub detail: String,
}

impl Fault {
    /// With the close code that goes with the error.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            ending: Ending::of(code),
            code,
            detail: detail.into(),
        }
    }
}
