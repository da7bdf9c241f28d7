//! What turns the state machines into a server: a task per channel, a task per connection.

mod channel;
mod connection;
mod halves;
mod link;
mod peer;

pub(crate) use channel::{Driver, DriverParts};
pub(crate) use connection::serve;
pub(crate) use link::{Link, Received, WebSocketLink};
pub(crate) use peer::Peer;
