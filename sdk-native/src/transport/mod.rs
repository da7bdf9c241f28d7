//! How messages travel: a link is opened, polled by the driver, and shut down; nothing here retries.

mod http;
mod proxy;
mod websocket;

use std::task::{Context, Poll};
use std::time::Duration;

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

/// `Retry-After`, obeyed in its form of seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text_of(headers, RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
