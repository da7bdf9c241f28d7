//! Who a client is, and which rights there are. Without any IO: the rest of authentication is in `auth.rs`.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidewire_core::time::UnixTime;
use tidewire_core::wire::ErrorCode;

use crate::log::Author;

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    expires: Option<UnixTime>,
}

impl Principal {
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 256;

    /// A principal whose token does not expire.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            expires: None,
        }
    }

    /// The same, until then: the connection ends with `token_expired` unless it was refreshed.
    #[must_use]
    pub fn expires(mut self, at: UnixTime) -> Self {
        self.expires = Some(at);
        self
    }

    /// What it is called; what mutations and presence carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When its token expires.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixTime> {
        self.expires
    }

    /// The same, shared.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whose mutations a client's are: nobody can write under another principal's id.
    #[must_use]
    pub fn author(&self, client: &[u8]) -> Author {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([0])
            .chain_update(client)
            .finalize();
        let mut author = [0; 16];
        author.copy_from_slice(&hash[..16]);
        Author(author)
    }

    /// As whom others see a session of this principal: a number that every node works out alike, and that
    /// nobody else's session has. Below 2^53, so that JavaScript can hold it.
    pub(crate) fn peer(&self, session: &[u8]) -> u64 {
        let hash = Sha256::new()
            .chain_update([0])
            .chain_update(self.name.as_bytes())
            .chain_update([0])
            .chain_update(session)
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        u64::from_be_bytes(first) >> 11
    }
}

/// 1–256 bytes without control characters.
#[cfg(feature = "config")]
pub(crate) fn is_principal_name(name: &str) -> bool {
    (1..=Principal::NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Why a token is not accepted. The text reaches the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// It never will be: the client stops and tells its application.
    #[error("{0}")]
    Denied(String),
    /// It was good once: the client fetches a new one and tries again.
    #[error("{0}")]
    Expired(String),
    /// It could not be checked just now: the client tries again later.
    #[error("{0}")]
    Unavailable(String),
}

impl AuthError {
    /// The token will never be accepted.
    #[must_use]
    pub fn terminal(detail: impl Into<String>) -> Self {
        Self::Denied(detail.into())
    }

    /// The token could not be checked just now.
    #[must_use]
    pub fn retryable(detail: impl Into<String>) -> Self {
        Self::Unavailable(detail.into())
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// What the client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(_) => ErrorCode::Unauthenticated,
            Self::Expired(_) => ErrorCode::TokenExpired,
            Self::Unavailable(_) => ErrorCode::AuthUnavailable,
        }
    }
}

/// What a principal wants to do on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Subscribe.
    Read,
    /// Push mutations.
    Write,
    /// Show oneself to others.
    Presence,
    /// Publish messages.
    Publish,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Presence => "show presence on",
            Self::Publish => "publish on",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_belongs_to_principal_and_client() {
        let client = [7; 16];
        let ana = Principal::new("ana").author(&client);
        assert_eq!(ana, Principal::new("ana").author(&client));
        assert_ne!(ana, Principal::new("eve").author(&client));
        assert_ne!(ana, Principal::new("ana").author(&[8; 16]));
    }
}
