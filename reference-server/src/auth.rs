//! How clients are authenticated: the application's part, and development tokens.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tidewire_core::ChannelName;

use crate::principal::is_principal_name;
pub(crate) use crate::principal::{Action, AuthError, Principal};

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
}
