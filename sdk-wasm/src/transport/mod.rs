//! What carries frames in a browser.

pub(crate) mod http;
pub(crate) mod websocket;

pub(crate) use http::Http;
pub(crate) use websocket::WebSocketLink;
