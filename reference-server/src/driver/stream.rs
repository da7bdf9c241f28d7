//! A stream of server-sent events as a link.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tidewire_core::wire::Codec;
use tokio::sync::mpsc;

use super::event::{event, padding};
use super::link::{Link, Received};
use super::live::Live;
use crate::connection::Ending;
use crate::connection::http::HttpSession;
use crate::principal::Principal;
use crate::sessions::{Place, Sessions};
use crate::transport::Transport;

/// A session whose client reads a stream.
pub(crate) struct StreamLink {
    live: Arc<Live>,
    place: Place,
    codec: Codec,
    events: mpsc::Sender<Bytes>,
    is_whole: Arc<AtomicBool>,
}

/// The body of the response. It ends cleanly only if the server has said all that it had to.
pub(crate) struct EventBody {
    /// Said before anything is known.
    first: Option<Bytes>,
    events: mpsc::Receiver<Bytes>,
    is_whole: Arc<AtomicBool>,
}

impl StreamLink {
    pub(crate) fn new(live: Arc<Live>, sessions: &Arc<Sessions>) -> (Self, EventBody) {
        // One event: the next one waits until the socket has taken it, so that a slow client's messages stay
        // in its queue.
        let (sender, events) = mpsc::channel(1);
        let is_whole = Arc::new(AtomicBool::new(false));
        let body = EventBody {
            first: Some(padding()),
            events,
            is_whole: Arc::clone(&is_whole),
        };
        let link = Self {
            codec: live.codec(),
            live,
            place: Place::new(sessions),
            events: sender,
            is_whole,
        };
        (link, body)
    }
}

impl Drop for StreamLink {
    fn drop(&mut self) {
        self.live.end();
    }
}

impl Link for StreamLink {
    const TRANSPORT: Option<Transport> = Some(Transport::Sse);

    async fn recv(&self) -> Received {
        tokio::select! {
            // What was said before the end comes before it.
            biased;
            received = self.live.next() => received,
            // Nobody can tell a client that is done from one that goes on elsewhere.
            () = self.events.closed() => Received::Gone(Ending::AWAY),
        }
    }

    async fn send(&self, message: Bytes) -> io::Result<()> {
        let sent = self.events.send(event(self.codec, &message)).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn let_in(&self, principal: &Principal, session: [u8; 16]) {
        let rules = HttpSession::new(principal.shared_name(), self.codec, None);
        self.live.let_in(rules);
        self.place.take(session, &self.live);
    }

    async fn close(&self, _: Ending) {
        self.is_whole.store(true, Ordering::Release);
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        if let Some(first) = body.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Poll::Ready(match ready!(body.events.poll_recv(cx)) {
            Some(event) => Some(Ok(Frame::data(event))),
            None if body.is_whole.swap(true, Ordering::AcqRel) => None,
            // The client must not take it for the end of what there is to say.
            None => Some(Err(io::ErrorKind::ConnectionAborted.into())),
        })
    }
}

/// A response that breaks off.
pub(crate) struct BrokenBody;

impl Body for BrokenBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}
