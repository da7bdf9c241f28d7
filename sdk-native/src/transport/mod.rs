//! How messages travel: a link is dialled, polled by the driver, and shut down; nothing here retries.

mod websocket;

use bytes::Bytes;
use tidewire_core::LinkClosed;

pub use websocket::TlsError;
pub(crate) use websocket::{Dialer, WebSocket};

/// What a link has to say.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It is up.
    Opened,
    /// One message, in order.
    Received(Bytes),
    /// It is gone, or never came up. Nothing follows.
    Closed(LinkClosed),
}
