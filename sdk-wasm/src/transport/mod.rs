//! How messages travel. One file per transport.

pub(crate) mod websocket;

pub(crate) use websocket::WebSocketLink;
