//! One task per connection: moves messages between its link, its state machine and its send queue.
//!
//! Listening and writing are two halves of the task: a client that reads slowly blocks only its own
//! writer, and a channel that takes its time only its own reader. The writer knows nothing of the state
//! machine, so that fan-out passes it by.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tidewire_core::wire::ErrorCode;
use tokio::time::{Instant, sleep_until, timeout};

use super::LONG;
use super::halves::{First, first};
use super::link::{Link, Received};
use super::peer::Peer;
use crate::app::App;
use crate::auth::KeptRequest;
use crate::channel::ChannelInput;
use crate::channels::Attempt;
use crate::connection::{
    Connection, ConnectionInput, ConnectionOutput, ConnectionParts, EndReason, Ending, Fault, Hand,
    Posted, Taken, To,
};
use crate::connections::Registered;
use crate::principal::Principal;
use crate::registry::Mailbox;
use crate::telemetry::Reason;

/// A client that takes less than this is stuck.
const BYTES_PER_SECOND_MIN: u64 = 2048;

/// How long an ended connection may take to write its last words.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

type Task = Arc<Mailbox>;
type Answer = Pin<Box<dyn Future<Output = ConnectionInput<Task>> + Send>>;

/// Serves a connection until it ends.
// The future of an `async fn` keeps each argument twice, and every idle connection is one.
#[expect(clippy::manual_async_fn, reason = "it would be larger")]
pub(crate) fn serve(
    app: Arc<App>,
    request: Arc<KeptRequest>,
    registered: Registered,
    link: impl Link,
) -> impl Future<Output = ()> + Send {
    async move {
        let peer = &registered.peer;
        let mut listener = Listener::new(&app, request, peer);
        let mut writing = pin!(write(&app, peer, &link));
        let ended = {
            let listening = pin!(listener.listen(&link));
            match first(listening, writing.as_mut()).await {
                First::Listening(()) => None,
                First::Writing(ending) => Some(ending),
            }
        };
        // Channels let go at once; what they already queued still goes out. The end gets its memory when it
        // comes: an idle connection keeps none for it.
        drop(listener);
        let ending = match ended {
            Some(ending) => ending,
            None => Box::pin(timeout(LAST_WORDS, writing))
                .await
                .unwrap_or(Ending::BROKEN),
        };
        if ending.close.is_some() {
            let _ = Box::pin(timeout(LAST_WORDS, link.close(ending))).await;
        }
        let reason = ending.reason;
        app.metrics.closes.get_or_create(&Reason { reason }).inc();
        let conn = peer.id().0;
        match reason {
            EndReason::Code(ErrorCode::Internal) => tracing::error!(conn, "a fault of the server"),
            _ => tracing::debug!(conn, ?reason, "connection ended"),
        }
    }
}

/// Writes what is ready until the end; returns how it ended.
pub(super) async fn write<L: Link>(app: &App, peer: &Peer, link: &L) -> Ending {
    let mut is_empty = false;
    loop {
        // What is taken ends with its block: the task's memory has no place for it while it is written.
        let (message, bytes, drained) = {
            let next = async {
                if L::WAITS {
                    // In a box: most connections have no such link, and would keep room for it.
                    Box::pin(peer.sendable(link.ready())).await;
                    is_empty = false;
                }
                peer.next(&mut is_empty).await
            };
            let taken = tokio::select! {
                biased;
                taken = next => taken,
                () = link.due() => {
                    match in_time(app, 0, pin!(link.flush())).await {
                        Ok(()) => continue,
                        Err(ending) => return ending,
                    }
                }
            };
            match taken {
                Taken::Message {
                    message, drained, ..
                } => {
                    let bytes = message.len();
                    (message, bytes, drained)
                }
                Taken::End(ending) => return ending,
            }
        };
        if let Err(ending) = in_time(app, bytes, pin!(link.send(message))).await {
            return ending;
        }
        for name in drained {
            app.channels.tell_drained(&name, peer.id());
        }
    }
}

/// Bounds a write. Most are done at once and need no timer, nor memory for one; slow but moving is no
/// failure.
async fn in_time(
    app: &App,
    bytes: usize,
    mut write: Pin<&mut impl Future<Output = io::Result<()>>>,
) -> Result<(), Ending> {
    let at_once = poll_fn(|cx| match write.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    });
    let done = match at_once.await {
        Some(done) => Ok(done),
        None => {
            let longer = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN);
            Box::pin(timeout(app.config.timeouts.write + longer, write)).await
        }
    };
    match done {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::BROKEN),
        // Nothing can be told to a peer that does not read.
        Err(_) => Err(Ending::UNREAD),
    }
}

/// The listening half.
pub(super) struct Listener<'a> {
    app: &'a Arc<App>,
    request: Arc<KeptRequest>,
    peer: &'a Arc<Peer>,
    connection: Connection<Task>,
    /// The answer that the connection waits for.
    answer: Option<Answer>,
    /// Subscriptions that the metrics know of.
    subscriptions: usize,
    /// What was said of the token of its `hello` already.
    vouched: Option<Box<Principal>>,
}

impl<'a> Listener<'a> {
    pub(super) fn new(app: &'a Arc<App>, request: Arc<KeptRequest>, peer: &'a Arc<Peer>) -> Self {
        let mut session = [0; 16];
        if getrandom::fill(&mut session).is_err() {
            let detail = "no randomness for a session";
            peer.fail(Fault::new(ErrorCode::Internal, detail));
        }
        let parts = ConnectionParts {
            peer: peer.id(),
            session,
            codec: peer.codec(),
            config: Arc::clone(&app.connection_config),
            access: Arc::clone(app) as _,
            pace: Some(Arc::clone(&request) as _),
            outlets: Arc::clone(peer) as _,
        };
        peer.set_message_bytes_max(app.config.limits.frame_down_bytes as usize);
        app.connections.listening(peer);
        Self {
            connection: Connection::new(parts, app.clock.now()),
            app,
            request,
            peer,
            answer: None,
            subscriptions: 0,
            vouched: None,
        }
    }

    /// It is known whose token the `hello` carries.
    pub(super) fn vouch(&mut self, principal: Principal) {
        self.vouched = Some(Box::new(principal));
    }

    /// Listens until the connection has ended.
    pub(super) async fn listen(&mut self, link: &impl Link) {
        let mut timer = pin!(sleep_until(Instant::now() + LONG));
        loop {
            let Some((at, reads)) = self.work(link).await else {
                return;
            };
            // Being heard only moves the deadline back, which the timer finds out when it fires.
            let at = at.unwrap_or_else(|| Instant::now() + LONG);
            if at < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            let input = tokio::select! {
                answer = answer(&mut self.answer) => {
                    self.answer = None;
                    answer
                }
                received = link.recv(), if reads => self.heard(received),
                goaway = self.peer.asked_to_leave() => ConnectionInput::Drain(goaway),
                () = timer.as_mut() => ConnectionInput::Timeout,
            };
            self.connection.handle_input(self.app.clock.now(), input);
        }
    }

    fn heard(&self, received: Received) -> ConnectionInput<Task> {
        match received {
            Received::Message(message) => {
                self.app.metrics.bytes_in.inc_by(message.len() as u64);
                ConnectionInput::Message(message)
            }
            Received::Life => ConnectionInput::Heard,
            Received::Refused(fault) => ConnectionInput::Refused(fault),
            Received::Gone(ending) => {
                self.peer.end(ending);
                let cleanly = ending.reason == EndReason::Client;
                ConnectionInput::Gone { cleanly }
            }
        }
    }

    /// Does what the connection asks. `None`: it has ended.
    async fn work<L: Link>(&mut self, link: &L) -> Option<(Option<Instant>, bool)> {
        loop {
            match self.connection.poll_output() {
                ConnectionOutput::Wait { at, reads } => {
                    self.count();
                    if self.connection.has_ended() {
                        return None;
                    }
                    return Some((at.map(|at| self.app.clock.instant(at)), reads));
                }
                output => self.perform(link, output),
            }
            // A message holds thousands of small frames: the writer and others have turns too.
            tokio::task::consume_budget().await;
        }
    }

    fn perform<L: Link>(&mut self, link: &L, output: ConnectionOutput<Task>) {
        match output {
            ConnectionOutput::Send(frame) => self.peer.send(frame),
            ConnectionOutput::Fail(fault) => self.peer.fail(fault),
            ConnectionOutput::MessageBytesMax(bytes) => self.peer.set_message_bytes_max(bytes),
            ConnectionOutput::Welcomed(principal) => {
                self.peer.set_who(principal.shared_name());
                link.let_in(&principal, *self.connection.session());
                if let Some(transport) = L::TRANSPORT {
                    self.app.metrics.let_in(transport);
                }
            }
            ConnectionOutput::Post { to, hand, input } => self.post(to, hand, input),
            ConnectionOutput::Authenticate { token } => {
                if let Some(principal) = self.vouched.take() {
                    let input = ConnectionInput::Authenticated(Ok(*principal));
                    return self.connection.handle_input(self.app.clock.now(), input);
                }
                let (app, request) = (Arc::clone(self.app), Arc::clone(&self.request));
                self.answer = Some(Box::pin(async move {
                    let principal = app.authenticate(token, &request).await;
                    ConnectionInput::Authenticated(principal)
                }));
            }
            ConnectionOutput::CheckOpen(name) => {
                let app = Arc::clone(self.app);
                self.answer = Some(Box::pin(async move {
                    ConnectionInput::Opened(app.exists(&name).await.ok())
                }));
            }
            ConnectionOutput::Wait { .. } => {}
        }
    }

    fn post(&mut self, to: To<Task>, hand: Hand, input: ChannelInput) {
        let channels = &self.app.channels;
        if hand == Hand::Always {
            // A channel that is gone has nobody subscribed.
            return channels.post_always(to, input);
        }
        let posted = match channels.try_post(to, input) {
            Attempt::Done(posted) => posted,
            Attempt::Full(..) if hand == Hand::Trying => Posted::Full,
            Attempt::Full(mailbox, input) => {
                self.answer = Some(Box::pin(async move {
                    ConnectionInput::Posted(match mailbox.inbox.push_waiting(input).await {
                        Ok(()) => Posted::Taken(mailbox),
                        Err(back) => Posted::Closed(back),
                    })
                }));
                return;
            }
        };
        let input = ConnectionInput::Posted(posted);
        self.connection.handle_input(self.app.clock.now(), input);
    }

    /// The connection's part of the metrics.
    fn count(&mut self) {
        let metrics = &self.app.metrics;
        metrics.frames_in.inc_by(self.connection.take_heard());
        let subscriptions = self.connection.subscriptions();
        if subscriptions != self.subscriptions {
            let more = subscriptions as i64 - self.subscriptions as i64;
            metrics.subscriptions.inc_by(more);
            self.subscriptions = subscriptions;
        }
    }

    /// The link is gone, or its last words are under way.
    fn leave(&mut self) {
        self.answer = None;
        let gone = ConnectionInput::Gone { cleanly: false };
        self.connection.handle_input(self.app.clock.now(), gone);
        loop {
            match self.connection.poll_output() {
                ConnectionOutput::Post { to, hand, input } => self.post(to, hand, input),
                ConnectionOutput::Wait { .. } => break,
                _ => {}
            }
        }
        self.count();
    }
}

/// Also when the application's code panics.
impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn answer(answer: &mut Option<Answer>) -> ConnectionInput<Task> {
    match answer {
        Some(answer) => answer.as_mut().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::WebSocketLink;

    fn bytes_of<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        // What is added here every idle client costs (docs/benchmarks.md, "What an idle connection costs").
        let bytes = bytes_of(|app, request, registered, link: WebSocketLink| {
            serve(app, request, registered, link)
        });
        // From 1,688 on the runtime's block for it, which is a multiple of 128, is one step larger.
        assert!(bytes < 1688, "{bytes} bytes");
    }
}
