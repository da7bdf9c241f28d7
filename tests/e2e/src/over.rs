//! Which transport the scenarios go over: `TEST_TRANSPORT` says it, so that one list of them serves all.

use std::env;
use std::sync::LazyLock;

use tidewire::{Client, ClientBuilder, TransportKind};

use crate::restless::Restless;

/// What the clients of this run go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// Whatever works, which is WebSocket here.
    Anything,
    /// This one alone.
    One(TransportKind),
    /// Whatever works, in a network that changes all the time.
    Chain,
}

static OVER: LazyLock<Over> = LazyLock::new(|| match env::var("TEST_TRANSPORT").as_deref() {
    Err(_) => Over::Anything,
    Ok("sse") => Over::One(TransportKind::Sse),
    Ok("long-poll") => Over::One(TransportKind::LongPoll),
    Ok("chain") => Over::Chain,
    Ok(other) => panic!("TEST_TRANSPORT is sse, long-poll or chain, not {other}"),
});

/// A client's builder that goes over the transport of this run.
pub(crate) fn builder(url: &str) -> ClientBuilder {
    match *OVER {
        Over::Anything => Client::builder(url),
        Over::One(kind) => Client::builder(url).transports([kind]),
        Over::Chain => Client::builder(Restless::before(url)),
    }
}

/// A run over a transport that went over another one would prove nothing.
///
/// # Panics
/// When that is so.
pub(crate) fn assert_over(client: &Client) {
    let used = client.connection().borrow().transport;
    let wanted = match *OVER {
        Over::Anything => TransportKind::WebSocket,
        Over::One(kind) => kind,
        Over::Chain => return,
    };
    // While it is waiting, there is none.
    assert!(used.is_none_or(|used| used == wanted), "over {used:?}");
}
