//! Long polls as a link: a message goes out as the answer to a request that is held.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::link::{Link, Received};
use super::live::Live;
use crate::connection::Ending;
use crate::connection::http::{HttpSession, Polls};
use crate::principal::Principal;
use crate::sessions::{Place, Sessions};
use crate::transport::Transport;

/// A session whose client polls.
pub(crate) struct PollLink {
    live: Arc<Live>,
    place: Place,
}

impl PollLink {
    pub(crate) fn new(live: Arc<Live>, sessions: &Arc<Sessions>) -> Self {
        Self {
            live,
            place: Place::new(sessions),
        }
    }
}

impl Drop for PollLink {
    fn drop(&mut self) {
        self.live.end();
    }
}

impl Link for PollLink {
    const TRANSPORT: Option<Transport> = Some(Transport::LongPoll);
    // Between polls messages stay in the queue, which bounds them and joins those that go out together.
    const WAITS: bool = true;

    fn recv(&self) -> impl Future<Output = Received> + Send {
        self.live.next()
    }

    fn ready(&self) -> impl Future<Output = ()> + Send {
        self.live.polled()
    }

    fn send(&self, message: Bytes) -> impl Future<Output = io::Result<()>> + Send {
        self.live.send(message)
    }

    fn due(&self) -> impl Future<Output = ()> + Send {
        self.live.held_long_enough()
    }

    async fn flush(&self) -> io::Result<()> {
        self.live.end_hold();
        Ok(())
    }

    fn let_in(&self, principal: &Principal, session: [u8; 16]) {
        let polls = Some(Polls::opened());
        let rules = HttpSession::new(principal.shared_name(), self.live.codec(), polls);
        self.live.let_in(rules);
        self.place.take(session, &self.live);
    }

    /// The fatal error was the answer to a poll: there is nothing else to say.
    async fn close(&self, _: Ending) {}
}
