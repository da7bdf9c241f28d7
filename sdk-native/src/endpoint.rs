//! The server's address: any of http, https, ws, wss, parsed once.

use std::fmt;
use std::str::FromStr;

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
    #[error("{url:?} is not a url: {detail}")]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A scheme that no transport speaks, or none.
    #[error("{url:?} must start with http://, https://, ws:// or wss://")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// Credentials, a query or a fragment: they would end in logs, and tokens have their own way.
    #[error("a server url takes no user, query or fragment: hand the token to `token`")]
    Surplus,
}

impl Endpoint {
    pub(crate) const PATH: &str = "/v1/ws";

    pub(crate) const fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        if url.contains(['?', '#', '@']) {
            return Err(UrlError::Surplus);
        }
        let malformed = |detail: String| UrlError::Malformed {
            url: url.to_owned(),
            detail,
        };
        let given: Uri = url.parse().map_err(|e| malformed(format!("{e}")))?;
        let scheme = match given.scheme_str() {
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

    #[test]
    fn every_way_to_write_an_address_ends_at_the_same_door() {
        for (given, meant) in [
            ("http://host", "ws://host/v1/ws"),
            ("http://host/", "ws://host/v1/ws"),
            ("ws://127.0.0.1:7400", "ws://127.0.0.1:7400/v1/ws"),
            ("https://host/v1/ws", "wss://host/v1/ws"),
            ("wss://host/app/", "wss://host/app/v1/ws"),
            ("http://[::1]:80/app/v1/ws/", "ws://[::1]:80/app/v1/ws"),
        ] {
            assert_eq!(given.parse::<Endpoint>().unwrap().to_string(), meant);
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_with_the_reason() {
        for bad in ["", "host", "host:80", "ftp://host", "/v1/ws"] {
            assert!(
                matches!(
                    bad.parse::<Endpoint>(),
                    Err(UrlError::Scheme { .. } | UrlError::Malformed { .. })
                ),
                "{bad}"
            );
        }
        for bad in ["http://", "http://host:99999", "http:// host", "http://:80"] {
            assert!(
                matches!(bad.parse::<Endpoint>(), Err(UrlError::Malformed { .. })),
                "{bad}"
            );
        }
        for bad in ["http://ana:pw@host", "ws://host?token=x", "ws://host#a"] {
            assert_eq!(bad.parse::<Endpoint>(), Err(UrlError::Surplus), "{bad}");
        }
    }
}
