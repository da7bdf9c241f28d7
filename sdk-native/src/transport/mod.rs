//! How messages travel: a link is opened, polled by the driver, and shut down; nothing here retries.

mod http;
mod proxy;
mod websocket;

use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use tidewire_core::wire::CloseCode;
use tidewire_core::{ConnId, Input};

pub use http::HttpError;
pub(crate) use http::{Http, HttpLink};
pub use websocket::TlsError;
pub(crate) use websocket::{Dialer, WebSocket, web_roots};

/// One link.
pub(crate) enum Link {
    WebSocket(ConnId, Box<WebSocket>),
    Http(HttpLink),
}

impl Link {
    pub(crate) const fn conn(&self) -> ConnId {
        match self {
            Self::WebSocket(conn, _) => *conn,
            Self::Http(link) => link.conn(),
        }
    }

    /// Sends a message of a WebSocket.
    pub(crate) fn send(&mut self, message: Bytes) {
        match self {
            Self::WebSocket(_, link) => link.send(message),
            Self::Http(_) => unreachable!("what goes up over HTTP is a request"),
        }
    }

    /// What it has to say next; after `Closed` nothing.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        match self {
            Self::WebSocket(conn, link) => link.poll(*conn, cx),
            Self::Http(link) => link.poll(cx),
        }
    }

    /// Ends it, after about a second at most.
    pub(crate) async fn shut_down(self, code: CloseCode) {
        match self {
            Self::WebSocket(_, link) => link.shut_down(code).await,
            Self::Http(link) => link.shut_down().await,
        }
    }
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After`: seconds, or a date that is still to come by this machine's calendar.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text_of(headers, RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn after(text: &str) -> Option<Duration> {
        let value = HeaderValue::from_str(text).unwrap();
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_to_come() {
        assert_eq!(after("3"), Some(Duration::from_secs(3)));
        let soon = SystemTime::now() + Duration::from_secs(60);
        let read = after(&httpdate::fmt_http_date(soon)).expect("it is to come");
        assert!((50..=60).contains(&read.as_secs()), "{read:?}");
        for none in ["soon", "-3", "", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(after(none), None, "{none}");
        }
    }
}
