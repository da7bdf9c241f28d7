//! What turns the state machines into a server: a task per channel, a task per connection.

mod channel;
mod connection;
mod event;
mod exchange;
mod halves;
mod link;
mod live;
mod peer;
mod polls;
mod stream;
mod upgraded;

use std::time::Duration;

pub(crate) use channel::{Driver, DriverParts};
pub(crate) use connection::serve;
pub(crate) use exchange::{Asked, Broken, exchange};
pub(crate) use link::{Link, Received, WebSocketLink};
pub(crate) use live::Live;
pub(crate) use peer::Peer;
pub(crate) use polls::PollLink;
pub(crate) use stream::{BrokenBody, StreamLink};

/// A timer that is set to nothing fires then, and is set again.
const LONG: Duration = Duration::from_secs(24 * 3600);
