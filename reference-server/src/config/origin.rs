//! What an origin looks like, as browsers send it.

use std::net::Ipv6Addr;

/// Whether a text has the shape of an origin, `SCHEME://HOST[:PORT]`, in lower case.
pub(crate) fn is_origin(text: &str) -> bool {
    Origin::parse(text).is_some() && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// The parts of one.
#[cfg_attr(
    not(feature = "net"),
    expect(dead_code, reason = "only headers are compared by their parts")
)]
pub(crate) struct Origin<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Origin<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if scheme != "http" && scheme != "https" {
            return None;
        }
        let (host, port) = split_port(rest)?;
        Some(Self { scheme, host, port })
    }
}

/// `HOST[:PORT]`, the host a name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            let host = &text[..address.len() + 2];
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return None,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let name = host.starts_with('[')
        || (!host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')));
    if !name {
        return None;
    }
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}
