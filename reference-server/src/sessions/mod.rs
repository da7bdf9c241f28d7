//! Sessions over HTTP whose home is this node, and the way to those of other nodes.
//!
//! A request may come to any node. What is for a session goes to its home, through the broker's inboxes, and
//! nowhere else; a session that is not there has ended. There is nothing to replicate and nothing to be sticky
//! to: a client that is told `moved` opens another session with the cursors that it has.

mod letter;
mod post_rates;
mod token_cache;

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::{Codec, ErrorCode};
use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OnceCell, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::app::App;
use crate::broker::{Broker, Inbox, Letter, LetterId, NodeId, Sent, Unavailable};
use crate::clock;
use crate::connection::http::{Handle, Polled, Refused, no_frames};
use crate::driver::Live;
use letter::{Ask, Left, Told, Words};
pub(crate) use post_rates::{PostRates, Poster};
pub(crate) use token_cache::TokenCache;

/// How long a home may take to answer, beside what it holds a poll for.
const HOME: Duration = Duration::from_secs(5);

/// How long a client may owe its next poll while the node drains; at most twice that. It polls at once, or after a second.
const POLL_OWED: Duration = Duration::from_secs(3);

/// Letters that are remembered, since a broker may deliver one twice. The oldest are forgotten.
const LETTERS_KEPT: usize = 4096;

/// When a client may come again that cannot be served just now.
const RETRY_MS: u32 = 1000;

/// All sessions of this node.
pub(crate) struct Sessions {
    home: u32,
    live: Mutex<HashMap<[u8; 16], Arc<Live>>>,
    /// Requests that wait for another node's answer.
    asked: Mutex<HashMap<[u8; 16], oneshot::Sender<Told>>>,
    /// How many of those there are; what a drain waits for.
    forwarded: watch::Sender<usize>,
    /// Polls that another node waits for. Taken out of here, one is hung up.
    held: Mutex<HashMap<[u8; 16], oneshot::Sender<Infallible>>>,
    /// Reads this node's inbox, from the first session on.
    reader: OnceCell<Reader>,
    /// Requests that are looked at, polls that are held aside.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) tokens: TokenCache,
    pub(crate) rates: PostRates,
}

/// What a request wants of a session.
pub(crate) struct Wish {
    pub(crate) who: Arc<str>,
    pub(crate) codec: Codec,
    /// Which poll it is, and how long it may be held.
    pub(crate) poll: Option<(u32, Duration)>,
    /// Which POST it is; 0: its client does not count, or it is none.
    pub(crate) post: u32,
    pub(crate) message: Bytes,
}

/// What a request is answered by a session.
pub(crate) enum Answered {
    /// With this body.
    Body(Bytes),
    /// It ended without a word.
    Broken,
}

impl Sessions {
    pub(crate) fn new(
        home: u32,
        requests: usize,
        tokens: TokenCache,
        rates: PostRates,
    ) -> Arc<Self> {
        Arc::new(Self {
            home,
            live: Mutex::default(),
            asked: Mutex::default(),
            forwarded: watch::Sender::new(0),
            held: Mutex::default(),
            reader: OnceCell::new(),
            requests: Arc::new(Semaphore::new(requests.min(Semaphore::MAX_PERMITS))),
            tokens,
            rates,
        })
    }

    fn live(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<[u8; 16], oneshot::Sender<Told>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 16], oneshot::Sender<Infallible>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes letters from now on. Whoever is told this home can be reached.
    pub(crate) async fn start(app: &Arc<App>) -> Result<(), Refused> {
        let read = async || {
            let inbox = app.broker.inbox(node(app.sessions.home)).await?;
            let task = tokio::spawn(read(Arc::downgrade(app), inbox));
            Ok::<_, Unavailable>(Reader(task))
        };
        match app.sessions.reader.get_or_try_init(read).await {
            Ok(_) => Ok(()),
            Err(error) => {
                if let Some(unsaid) = app.refusals.take(app.clock.mono()) {
                    tracing::warn!(%error, unsaid, "no session over HTTP can be opened");
                }
                Err(unavailable())
            }
        }
    }

    /// Takes a request to its session, wherever that lives.
    pub(crate) async fn take(
        app: &Arc<App>,
        handle: Handle,
        wish: Wish,
    ) -> Result<Answered, Refused> {
        if handle.home == app.sessions.home {
            return app.sessions.take_here(handle.session, wish).await;
        }
        let mut wish = wish;
        if let Some((_, hold)) = &mut wish.poll
            && app.connections.is_draining()
        {
            // The next one comes to another node.
            *hold = Duration::ZERO;
        }
        Self::forward(app, handle, wish).await
    }

    async fn take_here(&self, session: [u8; 16], wish: Wish) -> Result<Answered, Refused> {
        let live = self.live().get(&session).cloned();
        let live = live.ok_or_else(Refused::moved)?;
        let accepted = live.accept(&wish.who, wish.codec, wish.poll, wish.post, wish.message)?;
        match accepted {
            Some(polled) => answered(&live, wish.codec, polled).await,
            None => Ok(Answered::Body(Bytes::from_static(no_frames(wish.codec)))),
        }
    }

    async fn forward(app: &Arc<App>, handle: Handle, wish: Wish) -> Result<Answered, Refused> {
        Self::start(app).await?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| unavailable())?;
        let hold = wish.poll.map_or(Duration::ZERO, |(_, hold)| hold);
        let patience = hold + HOME;
        let (answer, told) = oneshot::channel();
        app.sessions.asked().insert(id, answer);
        app.sessions.forwarded.send_modify(|count| *count += 1);
        let mut waits = Waits {
            app,
            id,
            poll_at: None,
        };
        let ask = Words::Ask(Ask::new(app.sessions.home, handle.session, &wish));
        match send(&*app.broker, handle.home, id, ask, patience).await {
            Ok(Sent::Kept) => waits.poll_at = wish.poll.map(|_| handle.home),
            Ok(Sent::NobodyThere) => return Err(Refused::moved()),
            Ok(Sent::Full) | Err(_) => return Err(unavailable()),
        }
        match timeout(patience, told).await {
            Ok(Ok(told)) => told.into_answer(),
            // Its home is gone, or as good as gone.
            _ => Err(Refused::moved()),
        }
    }

    /// Waits until no request waits for another node.
    pub(crate) async fn nothing_forwarded(&self) {
        let mut count = self.forwarded.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// While the node drains: ends sessions whose clients have left between two polls, which nothing says. Who is still
    /// there opens another one.
    pub(crate) async fn end_abandoned(&self) -> Infallible {
        let mut owed = HashMap::new();
        loop {
            tokio::time::sleep(POLL_OWED).await;
            let live: Vec<_> = self
                .live()
                .iter()
                .map(|(id, live)| (*id, Arc::clone(live)))
                .collect();
            let before = std::mem::take(&mut owed);
            for (id, live) in live {
                let Some(number) = live.awaited_poll() else {
                    continue;
                };
                if before.get(&id) == Some(&number) {
                    live.hang_up();
                }
                owed.insert(id, number);
            }
        }
    }

    /// Nobody is asked any more.
    pub(crate) fn stop(&self) {
        if let Some(reader) = self.reader.get() {
            reader.0.abort();
        }
    }
}

/// Waits for what a poll is answered. A client that hangs up meanwhile does not come back to its session, unless its
/// next poll is there already.
pub(crate) async fn answered(
    live: &Arc<Live>,
    codec: Codec,
    polled: oneshot::Receiver<Polled>,
) -> Result<Answered, Refused> {
    let mut held = Held {
        live: Arc::clone(live),
        polled,
    };
    match (&mut held.polled).await {
        Ok(Polled::Message(message)) => Ok(Answered::Body(message)),
        Ok(Polled::Nothing) => Ok(Answered::Body(Bytes::from_static(no_frames(codec)))),
        Ok(Polled::Refused(refused)) => Err(refused),
        Err(_) => Ok(Answered::Broken),
    }
}

/// A poll whose request may be dropped.
struct Held {
    live: Arc<Live>,
    polled: oneshot::Receiver<Polled>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A message that nobody took is lost. What was read to its end is closed.
        if let Err(TryRecvError::Empty) | Ok(Polled::Message(_)) = self.polled.try_recv() {
            self.live.hang_up();
        }
    }
}

/// A request that waits for another node's answer.
struct Waits<'a> {
    app: &'a Arc<App>,
    id: [u8; 16],
    /// The node that holds it, if it is a poll.
    poll_at: Option<u32>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let sessions = &self.app.sessions;
        let is_unanswered = sessions.asked().remove(&self.id).is_some();
        sessions.forwarded.send_modify(|count| *count -= 1);
        // Its client has hung up, or its home is too slow: either way the client does not come back to the session.
        if let Some(home) = self.poll_at.filter(|_| is_unanswered)
            && let Ok(runtime) = Runtime::try_current()
        {
            let (app, id) = (Arc::clone(self.app), self.id);
            runtime.spawn(async move { leave(&*app.broker, home, id).await });
        }
    }
}

/// Where a session is found, from the moment that somebody is let in until its link is dropped.
pub(crate) struct Place {
    sessions: Arc<Sessions>,
    session: OnceLock<[u8; 16]>,
}

impl Place {
    pub(crate) fn new(sessions: &Arc<Sessions>) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            session: OnceLock::new(),
        }
    }

    pub(crate) fn take(&self, session: [u8; 16], live: &Arc<Live>) {
        if self.session.set(session).is_ok() {
            self.sessions.live().insert(session, Arc::clone(live));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(session) = self.session.get() {
            self.sessions.live().remove(session);
        }
    }
}

/// The task that reads letters; it ends with the server.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Under which name a node's inbox is found.
const fn node(home: u32) -> NodeId {
    NodeId(home as u64)
}

fn unavailable() -> Refused {
    let detail = "the session's node cannot be asked just now";
    Refused::new(ErrorCode::Overloaded, detail).after_ms(RETRY_MS)
}

async fn send(
    broker: &dyn Broker,
    home: u32,
    id: [u8; 16],
    words: Words,
    patience: Duration,
) -> Result<Sent, Unavailable> {
    let expires = clock::unix().0.saturating_add(clock::millis(patience));
    let letter = Letter {
        id: LetterId(id),
        expires: UnixTime(expires),
        body: words.into_bytes(),
    };
    broker.send(node(home), letter).await
}

/// Tells a home that nobody waits for a poll any more. Lost, it costs a session that stays until it has been silent for
/// long enough.
async fn leave(broker: &dyn Broker, home: u32, asked: [u8; 16]) {
    let mut own = [0; 16];
    if getrandom::fill(&mut own).is_ok() {
        let _ = send(broker, home, own, Words::Left(Left::new(asked)), HOME).await;
    }
}

async fn read(app: Weak<App>, mut inbox: Box<dyn Inbox>) {
    let mut seen = Seen::default();
    while let Some(letter) = inbox.next().await {
        let Some(app) = app.upgrade() else { return };
        // Whatever it was, it is not worth more than once: the sender waits, and comes again otherwise.
        inbox.done(letter.id);
        if !seen.is_new(letter.id) {
            continue;
        }
        match Words::read(letter.body) {
            Some(Words::Ask(ask)) => {
                let (holds, is_left) = oneshot::channel();
                if ask.is_poll() {
                    app.sessions.held().insert(letter.id.0, holds);
                }
                drop(tokio::spawn(answer(app, letter.id, ask, is_left)));
            }
            Some(Words::Left(left)) => {
                if let Some(id) = left.asked() {
                    app.sessions.held().remove(&id);
                }
            }
            Some(Words::Told(told)) => {
                let asked = told.asked().and_then(|id| app.sessions.asked().remove(&id));
                if let Some(asked) = asked {
                    // Whoever asked may have hung up.
                    let _ = asked.send(told);
                }
            }
            None => tracing::debug!("a letter of another node makes no sense"),
        }
    }
}

async fn answer(app: Arc<App>, id: LetterId, ask: Ask, is_left: oneshot::Receiver<Infallible>) {
    let reply_to = ask.reply_to;
    let session = ask.session();
    let is_poll = ask.is_poll();
    let taken = async {
        let wish = ask.into_wish().ok_or_else(Refused::moved)?;
        app.sessions
            .take_here(session.unwrap_or_default(), wish)
            .await
    };
    let told = tokio::select! {
        biased;
        told = taken => told,
        // What was held is dropped, which is what a client's hanging up is.
        _ = is_left, if is_poll => return,
    };
    app.sessions.held().remove(&id.0);
    let mut own = [0; 16];
    let sent = match getrandom::fill(&mut own) {
        Ok(()) => {
            let words = Words::Told(Told::new(id.0, told));
            send(&*app.broker, reply_to, own, words, HOME).await.ok()
        }
        Err(_) => None,
    };
    // An answer that is lost may have carried a message: the session has a gap.
    if sent != Some(Sent::Kept)
        && let Some(live) = session.and_then(|session| app.sessions.live().get(&session).cloned())
    {
        live.hang_up();
    }
}

/// Letters that were read.
#[derive(Default)]
struct Seen {
    known: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl Seen {
    fn is_new(&mut self, LetterId(id): LetterId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > LETTERS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_counts_once_and_few_are_remembered() {
        let mut seen = Seen::default();
        let id = |n: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            LetterId(id)
        };
        assert!(seen.is_new(id(0)));
        assert!(!seen.is_new(id(0)));
        for n in 1..=2 * LETTERS_KEPT as u64 {
            assert!(seen.is_new(id(n)));
        }
        assert_eq!(
            (seen.known.len(), seen.order.len()),
            (LETTERS_KEPT, LETTERS_KEPT)
        );
        assert!(!seen.is_new(id(2 * LETTERS_KEPT as u64)));
    }
}
