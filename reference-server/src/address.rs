//! Who is at the other end, as far as the socket and proxies tell.
//!
//! Headers are what anybody writes into them. They count only where the socket's peer is a proxy that
//! the configuration trusts, and they never make anyone more trusted than the socket does.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Cidr;

/// The headers by which proxies name who came to them.
const FORWARDED: &str = "forwarded";
const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_REAL_IP: &str = "x-real-ip";

/// The client's address: the peer, or what a trusted proxy names, the last address in
/// `X-Forwarded-For` that is no trusted proxy.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Cidr]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut client = peer.to_canonical();
    let lines = headers.get_all(X_FORWARDED_FOR).iter();
    let mut names: Vec<&[u8]> = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .collect();
    while is_trusted(client) {
        // What a trusted proxy did not write as an address hides whatever stands before it.
        let Some(named) = names.pop().and_then(address) else {
            break;
        };
        client = named;
    }
    client
}

/// Whether every forwarding header, if there is any, names nobody but this machine.
pub(crate) fn is_forwarded_from_loopback_only(headers: &HeaderMap) -> bool {
    let is_loopback = |text: &[u8]| address(text).is_some_and(|address| address.is_loopback());
    let plain = [X_FORWARDED_FOR, X_REAL_IP];
    let mut named = plain
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut elements = headers
        .get_all(FORWARDED)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    named.all(is_loopback)
        && elements.all(|element| forwarded_for(element).is_some_and(is_loopback))
}

/// The node that one element of `Forwarded` names. Separators inside of quotes do not occur in an
/// address; an element that has them names nobody.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut nodes = element.split(|byte| *byte == b';').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..at].trim_ascii(), &pair[at + 1..]);
        name.eq_ignore_ascii_case(b"for").then_some(value)
    });
    let node = nodes.next()?;
    // Two of them: nobody knows which one a reader takes.
    nodes.next().is_none().then_some(node)
}

/// An address with or without port, brackets and quotes.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = bare
        .unwrap_or(text)
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// What limits per address count by: an IPv4 address, or the /64 of an IPv6 one, as a single client
/// has all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(IpAddr);

impl AddressKey {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_trusted_proxies_say_who_came_to_them() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        for (peer, lines, client) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            // Not a proxy that we trust: whatever it says of others.
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the client wrote itself stands first and does not count.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["1.1.1.1", "198.51.100.1, 10.2.2.2"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("::1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("::1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, "], "10.0.0.1"),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            let found = client_address(peer.parse().unwrap(), &headers(&lines), &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn forwarding_headers_that_name_anyone_else_are_found() {
        for (line, only_loopback) in [
            (("host", "evil.example.com"), true),
            (("x-forwarded-for", "127.0.0.1"), true),
            (("x-forwarded-for", "127.8.1.1, ::1"), true),
            (("x-forwarded-for", "::ffff:127.0.0.1"), true),
            (("x-forwarded-for", "127.0.0.1:80, [::1]:81"), true),
            (("x-forwarded-for", "203.0.113.9"), false),
            (("x-forwarded-for", "127.0.0.1, 203.0.113.9"), false),
            (("x-forwarded-for", "203.0.113.9, 127.0.0.1"), false),
            (("x-forwarded-for", ""), false),
            (("x-forwarded-for", "localhost"), false),
            (("x-forwarded-for", "unknown"), false),
            (("x-real-ip", "127.0.0.1"), true),
            (("x-real-ip", "192.168.1.2"), false),
            (("forwarded", "for=127.0.0.1"), true),
            (
                ("forwarded", "For=\"[::1]:4711\";proto=http;by=203.0.113.43"),
                true,
            ),
            (("forwarded", "proto=http; for=127.0.0.1"), true),
            (("forwarded", "for=127.0.0.1, for=203.0.113.9"), false),
            (("forwarded", "for=127.0.0.1;for=203.0.113.9"), false),
            (("forwarded", "for=unknown"), false),
            (("forwarded", "for=_hidden"), false),
            (("forwarded", "proto=https"), false),
            (("forwarded", "for=\"127.0.0.1"), false),
            (("forwarded", ""), false),
        ] {
            let found = is_forwarded_from_loopback_only(&headers(&[line]));
            assert_eq!(found, only_loopback, "{line:?}");
        }
        assert!(!is_forwarded_from_loopback_only(&headers(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-for", "203.0.113.9"),
        ])));
    }

    #[test]
    fn a_client_cannot_walk_through_its_own_network() {
        let key = |text: &str| AddressKey::new(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1:2:3"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
