//! Which web pages may connect.
//!
//! A browser sends `Origin` with every WebSocket handshake and sends cookies to any host, so this
//! check is what keeps a foreign page out. Compared exactly: no wildcards, no suffixes.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, header};

use crate::config::origin::{Origin, split_port};

/// Whose pages are let in, besides programs that send no `Origin` at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct OriginRule {
    /// Listed origins.
    pub(crate) allowed: Vec<String>,
    /// Pages of this machine are let in; only they count as "same host".
    pub(crate) loopback: bool,
}

impl OriginRule {
    /// Whether a request with these headers may connect.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
            return false;
        };
        if self.allowed.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let Some(Origin { scheme, host, port }) = Origin::parse(origin) else {
            return false;
        };
        if self.loopback {
            // A name that someone else's DNS points at this machine is "same host" too, and the
            // development tokens are no secret: only loopback names count.
            return is_loopback_host(host);
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(Ok(own)), None) = (hosts.next().map(|host| host.to_str()), hosts.next()) else {
            return false;
        };
        let Some((own_host, own_port)) = split_port(own) else {
            return false;
        };
        let default = if scheme == "https" { 443 } else { 80 };
        own_host.eq_ignore_ascii_case(host)
            && own_port.unwrap_or(default) == port.unwrap_or(default)
    }
}

/// A name or an address that means this machine, whoever asks.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.trim_end_matches(']').parse() == Ok(Ipv6Addr::LOCALHOST);
    }
    let host_lower = host.to_ascii_lowercase();
    host_lower == "localhost"
        || host_lower.ends_with(".localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn admits(rule: &OriginRule, origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        rule.admits(&headers)
    }

    #[test]
    fn only_absent_same_host_and_listed_origins_are_admitted() {
        let rule = OriginRule {
            allowed: vec!["https://app.example.com".into()],
            loopback: false,
        };
        for (origin, host, expected) in [
            (None, "sync.example.com", true),
            (Some("https://sync.example.com"), "sync.example.com", true),
            (
                Some("https://sync.example.com"),
                "SYNC.example.com:443",
                true,
            ),
            (Some("http://sync.example.com"), "sync.example.com:80", true),
            (
                Some("http://sync.example.com:7400"),
                "sync.example.com:7400",
                true,
            ),
            (Some("http://[::1]:7400"), "[::1]:7400", true),
            (Some("https://app.example.com"), "sync.example.com", true),
            (Some("http://app.example.com"), "sync.example.com", false),
            (
                Some("https://app.example.com:8443"),
                "sync.example.com",
                false,
            ),
            (Some("https://app.example.com/"), "sync.example.com", false),
            (Some("https://APP.example.com"), "sync.example.com", false),
            (
                Some("https://app.example.com.evil.org"),
                "sync.example.com",
                false,
            ),
            (
                Some("https://evilapp.example.com"),
                "sync.example.com",
                false,
            ),
            (Some("https://example.com"), "sync.example.com", false),
            (
                Some("https://sync.example.com:444"),
                "sync.example.com",
                false,
            ),
            (
                Some("http://sync.example.com"),
                "sync.example.com:443",
                false,
            ),
            (
                Some("https://sync.example.com@evil.org"),
                "sync.example.com",
                false,
            ),
            (
                Some("https://user@sync.example.com"),
                "sync.example.com",
                false,
            ),
            (Some("ftp://sync.example.com"), "sync.example.com", false),
            (Some("file://"), "sync.example.com", false),
            (Some("null"), "sync.example.com", false),
            (Some(""), "sync.example.com", false),
            (Some("http://localhost:5173"), "sync.example.com", false),
            (Some("http://127.0.0.1"), "sync.example.com", false),
            (Some("*"), "sync.example.com", false),
            (
                Some("https://app.example.com https://evil.org"),
                "sync.example.com",
                false,
            ),
        ] {
            assert_eq!(
                admits(&rule, origin, host),
                expected,
                "{origin:?} at {host}"
            );
        }
    }

    #[test]
    fn development_takes_pages_of_this_machine_only() {
        let rule = OriginRule {
            allowed: Vec::new(),
            loopback: true,
        };
        for (origin, host, expected) in [
            (None, "127.0.0.1:7400", true),
            (Some("http://localhost:5173"), "127.0.0.1:7400", true),
            (Some("http://app.localhost:5173"), "127.0.0.1:7400", true),
            (Some("https://127.0.0.1"), "127.0.0.1:7400", true),
            (Some("http://127.8.9.1:1"), "127.0.0.1:7400", true),
            (Some("http://[::1]:5173"), "127.0.0.1:7400", true),
            (Some("http://localhost.evil.org"), "127.0.0.1:7400", false),
            (Some("http://127.0.0.1.evil.org"), "127.0.0.1:7400", false),
            // A name of someone else that resolves to this machine.
            (Some("http://evil.org:7400"), "evil.org:7400", false),
            (Some("http://[::2]:5173"), "127.0.0.1:7400", false),
            (Some("null"), "127.0.0.1:7400", false),
        ] {
            assert_eq!(
                admits(&rule, origin, host),
                expected,
                "{origin:?} at {host}"
            );
        }
    }

    #[test]
    fn two_origins_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        headers.append(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        let rule = OriginRule {
            allowed: Vec::new(),
            loopback: true,
        };
        assert!(!rule.admits(&headers));
    }
}
