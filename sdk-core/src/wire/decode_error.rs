//! What every codec says of bytes that are not frames.

use super::code::ErrorCode;
use super::reading::Malformed;

/// Why bytes from the peer are not frames. The connection ends with [`DecodeError::code`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than agreed.
    #[error("message of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What arrived.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Not Protobuf, or not our schema.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// A frame type of the other direction or of a later version.
    #[error("unknown frame type")]
    UnknownFrame,
}

impl DecodeError {
    /// The code that the peer is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::Malformed(_) => ErrorCode::Malformed,
            Self::UnknownFrame => ErrorCode::UnknownFrame,
        }
    }
}

impl From<Malformed> for DecodeError {
    fn from(_: Malformed) -> Self {
        Self::Malformed("not protobuf".into())
    }
}
