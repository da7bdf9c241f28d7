//! Who a client is, and what it may do.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tidewire_core::ChannelName;
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

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whose mutations a client's are: nobody can write under another principal's id.
    pub(crate) fn author(&self, client: &[u8]) -> Author {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([0])
            .chain_update(client)
            .finalize();
        let mut author = [0; 16];
        author.copy_from_slice(&hash[..16]);
        Author(author)
    }
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

/// The request that opened the connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthRequest {
    /// Who connected, as the socket says; a proxy in between shows here.
    pub peer: Option<SocketAddr>,
    /// The headers of the upgrade request.
    pub headers: HeaderMap,
}

/// An [`AuthRequest`] as it is kept while its connection is open, for tokens that come later: one block
/// of text. The map itself takes several times as much, and its values keep all that was read with them.
#[derive(Debug)]
pub(crate) struct KeptRequest {
    peer: Option<SocketAddr>,
    /// A line `name:value` for each; neither holds a line break, nor a name a colon.
    headers: Box<[u8]>,
}

impl KeptRequest {
    pub(crate) fn new(peer: Option<SocketAddr>, headers: &HeaderMap) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
                lines.extend_from_slice(part);
            }
        }
        Self {
            peer,
            headers: lines.into(),
        }
    }

    /// The request as it was.
    pub(crate) fn unpack(&self) -> AuthRequest {
        let line = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
            Some((name, value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.split(|byte| *byte == b'\n').filter_map(line) {
            headers.append(name, value);
        }
        AuthRequest {
            peer: self.peer,
            headers,
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

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The application's `authenticate`.
pub(crate) type Authenticate =
    dyn Fn(String, Arc<AuthRequest>) -> BoxFuture<Result<Principal, AuthError>> + Send + Sync;

/// The application's `authorise`.
pub(crate) type Authorise = dyn Fn(&Principal, &ChannelName, Action) -> bool + Send + Sync;

/// `--dev-auth`: the token `dev:NAME` is the principal NAME.
pub(crate) fn dev_principal(token: &str) -> Result<Principal, AuthError> {
    match token.strip_prefix("dev:") {
        Some(name) if is_principal_name(name) => Ok(Principal::new(name)),
        _ => Err(AuthError::terminal(
            "this development server takes tokens of the form dev:NAME",
        )),
    }
}

/// 1–256 bytes without control characters.
pub(crate) fn is_principal_name(name: &str) -> bool {
    (1..=Principal::NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_tokens_name_their_principal() {
        assert_eq!(dev_principal("dev:ana").unwrap().name(), "ana");
        for bad in ["", "dev:", "ana", "DEV:ana", "dev:a\nb"] {
            assert!(!dev_principal(bad).unwrap_err().is_retryable(), "{bad}");
        }
        assert!(dev_principal(&format!("dev:{}", "x".repeat(257))).is_err());
    }

    #[test]
    fn a_kept_request_comes_back_as_it_was() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a:80"),
            ("cookie", "a=b; c=\u{e4}"),
            ("cookie", ""),
            ("x-of-their-own", " \t: "),
        ] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let peer = Some(([127, 0, 0, 1], 9).into());
        let unpacked = KeptRequest::new(peer, &headers).unpack();
        assert_eq!((unpacked.peer, unpacked.headers), (peer, headers));
    }

    #[test]
    fn an_author_belongs_to_principal_and_client() {
        let client = [7; 16];
        let ana = Principal::new("ana").author(&client);
        assert_eq!(ana, Principal::new("ana").author(&client));
        assert_ne!(ana, Principal::new("eve").author(&client));
        assert_ne!(ana, Principal::new("ana").author(&[8; 16]));
    }
}
