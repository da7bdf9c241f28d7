//! How clients are authenticated: the application's part, and development tokens.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tidewire_core::ChannelName;
use tidewire_core::time::MonoTime;

use crate::address::is_forwarded_from_loopback_only;
use crate::admission::Place;
use crate::connection::Pace;
use crate::principal::is_principal_name;
pub(crate) use crate::principal::{Action, AuthError, Principal};

/// The request that opened the connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthRequest {
    /// Who connected, as the socket says; a proxy in between shows here.
    pub peer: Option<SocketAddr>,
    /// Who the client is, as far as the proxies of `trusted_proxies` say.
    pub address: Option<IpAddr>,
    /// The headers of the upgrade request.
    pub headers: HeaderMap,
}

/// An [`AuthRequest`] as it is kept while its connection is open, for tokens that come later: one block
/// of text. The map itself takes several times as much, and its values keep all that was read with them.
#[derive(Debug)]
pub(crate) struct KeptRequest {
    peer: Option<SocketAddr>,
    address: Option<IpAddr>,
    /// Where its connection counts.
    place: Option<Place>,
    /// A line `name:value` for each; neither holds a line break, nor a name a colon.
    headers: Box<[u8]>,
}

impl KeptRequest {
    pub(crate) fn new(
        peer: Option<SocketAddr>,
        address: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
                lines.extend_from_slice(part);
            }
        }
        Self {
            peer,
            address,
            place: None,
            headers: lines.into(),
        }
    }

    /// The same, with the place that its connection has taken.
    pub(crate) fn with_place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// It is known who sent it.
    pub(crate) fn authenticated(&self) {
        if let Some(place) = &self.place {
            place.authenticated();
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
            address: self.address,
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

/// `--dev-auth`: the token `dev:NAME` is the principal NAME, for whoever is on this machine.
///
/// The listener's address alone does not say that: a proxy on this machine passes on who came from
/// elsewhere, and a program that serves [`crate::Server::router`] listens where it likes.
pub(crate) fn dev_principal(token: &str, request: &KeptRequest) -> Result<Principal, AuthError> {
    let Some(name) = token
        .strip_prefix("dev:")
        .filter(|name| is_principal_name(name))
    else {
        return Err(AuthError::terminal(
            "this development server takes tokens of the form dev:NAME",
        ));
    };
    let Some(peer) = request.peer else {
        return Err(AuthError::terminal(
            "development tokens are for this machine only, and nobody knows where this request came \
             from: serve the router with into_make_service_with_connect_info::<SocketAddr>()",
        ));
    };
    if !peer.ip().to_canonical().is_loopback() {
        return Err(AuthError::terminal(
            "development tokens are for this machine only; give the server `authenticate`",
        ));
    }
    if !is_forwarded_from_loopback_only(&request.unpack().headers) {
        return Err(AuthError::terminal(
            "development tokens are for this machine only, and a proxy says that this request came \
             from elsewhere; give the server `authenticate`",
        ));
    }
    Ok(Principal::new(name))
}

/// All frames of an address share a rate.
impl Pace for KeptRequest {
    fn pace(&self, frames: usize, now: MonoTime) -> Duration {
        let place = self.place.as_ref();
        place.map_or(Duration::ZERO, |place| place.pace(frames, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_tokens_name_their_principal() {
        let here = KeptRequest::new(Some(([127, 0, 0, 1], 9).into()), None, &HeaderMap::new());
        let dev = |token: &str| dev_principal(token, &here);
        assert_eq!(dev("dev:ana").unwrap().name(), "ana");
        for bad in ["", "dev:", "ana", "DEV:ana", "dev:a\nb"] {
            assert!(!dev(bad).unwrap_err().is_retryable(), "{bad}");
        }
        assert!(dev(&format!("dev:{}", "x".repeat(257))).is_err());
    }

    #[test]
    fn development_tokens_are_for_this_machine() {
        let from = |peer: Option<&str>, header: Option<(&'static str, &'static str)>| {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let peer = peer.map(|peer| SocketAddr::new(peer.parse().unwrap(), 9));
            dev_principal("dev:ana", &KeptRequest::new(peer, None, &headers))
        };
        for peer in ["127.0.0.1", "127.8.1.1", "::1", "::ffff:127.0.0.1"] {
            assert!(from(Some(peer), None).is_ok(), "{peer}");
        }
        for peer in [
            "192.0.2.1",
            "10.0.0.1",
            "::2",
            "0.0.0.0",
            "::ffff:192.0.2.1",
        ] {
            let refused = from(Some(peer), None).unwrap_err();
            assert!(refused.to_string().contains("authenticate"), "{refused}");
        }
        let unknown = from(None, None).unwrap_err();
        assert!(
            unknown
                .to_string()
                .contains("into_make_service_with_connect_info"),
            "{unknown}"
        );
        let here = Some("127.0.0.1");
        for (name, value, taken) in [
            ("x-forwarded-for", "127.0.0.1", true),
            ("x-forwarded-for", "192.0.2.1", false),
            ("x-real-ip", "192.0.2.1", false),
            ("forwarded", "for=192.0.2.1", false),
            ("forwarded", "for=\"[::1]\"", true),
        ] {
            assert_eq!(
                from(here, Some((name, value))).is_ok(),
                taken,
                "{name}: {value}"
            );
        }
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
        let address = Some([192, 0, 2, 1].into());
        let unpacked = KeptRequest::new(peer, address, &headers).unpack();
        assert_eq!((unpacked.peer, unpacked.address), (peer, address));
        assert_eq!(unpacked.headers, headers);
    }
}
