//! The server's address: any of http, https, ws, wss, parsed once.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::Scheme;

/// The URL of a server's `/v1/ws`.
///
/// Shape: `ws[s]://host[:port][/prefix]/v1/ws`. `http` and `https` are taken for `ws` and `wss`, a
/// path is taken for a prefix unless it ends in `/v1/ws` already.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Uri);

/// Why a text is not a server's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL at all.
    #[error("{url:?} is not a URL: {detail}")]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A scheme that no transport speaks, or none.
    #[error("the scheme of {url:?} must be http, https, ws or wss")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// Credentials: they would end in logs, and tokens have their own way.
    #[error("a URL with a user or password in it ends up in logs: hand the token to `token`")]
    Credentials,
    /// A query or a fragment: no door of a server takes one.
    #[error(
        "a server's URL takes no query and no fragment: leave off what begins with ? or #, and hand a token to `token`"
    )]
    Surplus,
}

impl UrlError {
    /// The stable name: `invalid_url`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "invalid_url"
    }
}

impl Endpoint {
    pub(crate) const PATH: &str = "/v1/ws";

    pub(crate) const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Where a tunnel has to lead: `http[s]://host:port`.
    pub(crate) fn with_port(&self) -> Uri {
        let is_tls = self.0.scheme_str() == Some("wss");
        let (scheme, usual) = if is_tls { ("https", 443) } else { ("http", 80) };
        let host = self.0.host().expect("an endpoint has a host");
        let port = self.0.port_u16().unwrap_or(usual);
        format!("{scheme}://{host}:{port}")
            .parse()
            .expect("parts of a url are one")
    }

    /// What requests begin with: `http[s]://host[:port][/prefix]`.
    pub(crate) fn http_base(&self) -> String {
        let url = self.0.to_string();
        let url = url.strip_suffix(Self::PATH).unwrap_or(&url);
        url.replacen("ws", "http", 1)
    }

    /// The same place over TLS, if that is where `location` leads from `path` under the base: the same host, and nothing
    /// else that is new but the port.
    fn over_tls(&self, path: &str, location: &str) -> Option<Self> {
        let location: Uri = location.parse().ok()?;
        let prefix = self.0.path().strip_suffix(Self::PATH)?;
        let is_ours = matches!(location.scheme_str(), Some("https" | "wss"))
            && location.host()?.eq_ignore_ascii_case(self.0.host()?)
            && location.path().strip_prefix(prefix) == Some(path)
            && location.query().is_none();
        if !is_ours || self.0.scheme_str() != Some("ws") {
            return None;
        }
        let authority = location.authority()?;
        format!("wss://{authority}{prefix}").parse().ok()
    }
}

/// Where the server is, as all transports of a client know it.
#[derive(Clone, Debug)]
pub(crate) struct Target(Arc<RwLock<Endpoint>>);

impl Target {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self(Arc::new(RwLock::new(endpoint)))
    }

    pub(crate) fn get(&self) -> Endpoint {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows a redirect from http to https of the same host, for good, and says whether this was one. No other is
    /// followed: a token would follow too.
    pub(crate) fn follow(&self, path: &str, location: &str) -> bool {
        let mut endpoint = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match endpoint.over_tls(path, location) {
            Some(moved) => {
                tracing::info!(from = %*endpoint, to = %moved, "the server is to be asked over TLS");
                *endpoint = moved;
                true
            }
            None => false,
        }
    }
}

impl FromStr for Endpoint {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let malformed = |detail: String| UrlError::Malformed {
            url: url.to_owned(),
            detail,
        };
        let given: Uri = url.parse().map_err(|e| malformed(format!("{e}")))?;
        let scheme = given.scheme_str().map(str::to_ascii_lowercase);
        let scheme = match scheme.as_deref() {
            Some("http" | "ws") => "ws",
            Some("https" | "wss") => "wss",
            _ => {
                return Err(UrlError::Scheme {
                    url: url.to_owned(),
                });
            }
        };
        let authority = given
            .authority()
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| malformed("no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        // A fragment is dropped where a text is parsed.
        if url.contains(['?', '#']) {
            return Err(UrlError::Surplus);
        }
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(malformed("the port is not a number up to 65535".to_owned()));
        }
        let prefix = given.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix(Self::PATH).unwrap_or(prefix);
        Uri::builder()
            .scheme(Scheme::try_from(scheme).map_err(|e| malformed(e.to_string()))?)
            .authority(authority.clone())
            .path_and_query(format!("{prefix}{}", Self::PATH))
            .build()
            .map(Self)
            .map_err(|e| malformed(e.to_string()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What browsers' clients read too: `npm/tests/connection.test.ts`.
    fn urls(which: &str) -> Vec<(String, String)> {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/urls.json");
        let text = std::fs::read_to_string(place).unwrap();
        let mut table: serde_json::Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(table[which].take()).unwrap()
    }

    #[test]
    fn every_way_to_write_an_address_ends_at_the_same_door() {
        for (given, meant) in urls("taken") {
            let endpoint: Endpoint = given.parse().unwrap();
            assert_eq!(endpoint.to_string(), meant, "{given}");
            let base = meant.replacen("ws", "http", 1);
            assert_eq!(format!("{}/v1/ws", endpoint.http_base()), base);
        }
    }

    #[test]
    fn only_the_same_host_over_tls_is_followed_and_once() {
        let target = Target::new("http://host/app".parse().unwrap());
        for elsewhere in [
            "https://other/app/v1/sse",
            "https://host/v1/sse",
            "https://host/app/v1/sse?to=me",
            "https://host/login",
            "http://host/app/v1/sse",
            "/app/v1/sse",
            "",
        ] {
            assert!(!target.follow("/v1/sse", elsewhere), "{elsewhere}");
        }
        assert!(target.follow("/v1/sse", "https://HOST:8443/app/v1/sse"));
        assert_eq!(target.get().to_string(), "wss://HOST:8443/app/v1/ws");
        assert!(!target.follow("/v1/ws", "https://host/app/v1/ws"));
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_with_the_reason() {
        for (given, says) in urls("refused") {
            let error = given.parse::<Endpoint>().expect_err(&given);
            assert_eq!(error.code(), "invalid_url");
            assert!(error.to_string().contains(&says), "{given}: {error}");
        }
        for bad in ["", "host", "/v1/ws"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
