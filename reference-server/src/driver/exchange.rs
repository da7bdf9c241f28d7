//! The pushes of one POST: evaluated by a connection of their own, answered in the response.
//!
//! Any node may do this: what decides about a push are its author and its number.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::wire::{Codec, ServerKind, Welcome};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::connection::{LAST_WORDS, Listener, write};
use super::halves::{First, first};
use super::link::{Link, Received};
use crate::app::App;
use crate::auth::KeptRequest;
use crate::connection::Ending;
use crate::connection::http::Replies;
use crate::faults::Faulted;
use crate::principal::Principal;
use crate::transport::Transport;

/// How long a POST may wait for the answers to its pushes; those without one are told `hold` then. A broker that
/// does not answer is told of earlier, by the channel.
const ANSWERS: Duration = Duration::from_secs(8);

/// What a POST said, and who says it.
pub(crate) struct Asked {
    pub(crate) request: KeptRequest,
    pub(crate) principal: Principal,
    pub(crate) codec: Codec,
    /// `hello` and pushes.
    pub(crate) message: Bytes,
    pub(crate) replies: Replies,
}

/// The response broke on purpose: a fault plan said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Evaluates pushes. Without any the answer is `welcome`, which says whose they would be.
pub(crate) async fn exchange(app: &Arc<App>, asked: Asked) -> Result<Vec<ServerKind>, Broken> {
    let state = Arc::new(Exchange {
        codec: asked.codec,
        state: Mutex::new(State {
            message: Some(asked.message),
            wants_welcome: asked.replies.is_done(),
            replies: asked.replies,
            welcome: None,
        }),
        done: Notify::new(),
    });
    let link = ExchangeLink(Arc::clone(&state));
    let peer = app.connections.stranger(asked.codec);
    let mut listener = Listener::new(app, Arc::new(asked.request), &peer);
    listener.vouch(asked.principal);
    let ended = match app.is_faulted {
        true => {
            let link = Faulted::new(link, &app.faults, peer.id(), asked.codec);
            Box::pin(run(app, &mut listener, &peer, &link, &state)).await
        }
        false => run(app, &mut listener, &peer, &link, &state).await,
    };
    drop(listener);
    let mut state = state.state();
    let replies = std::mem::take(&mut state.replies);
    if ended.is_some_and(|ending| ending.close.is_none()) && !replies.has_failed() {
        return Err(Broken);
    }
    let welcome = state.welcome.take().map(ServerKind::Welcome);
    Ok(welcome.into_iter().chain(replies.finish()).collect())
}

/// Returns how it ended, if it ended before its time.
async fn run(
    app: &App,
    listener: &mut Listener<'_>,
    peer: &super::Peer,
    link: &impl Link,
    state: &Exchange,
) -> Option<Ending> {
    let mut writing = pin!(write(app, peer, link));
    let first = {
        let listening = pin!(listener.listen(link));
        tokio::select! {
            biased;
            () = state.is_done() => return None,
            first = first(listening, writing.as_mut()) => first,
            () = sleep(ANSWERS) => return None,
        }
    };
    match first {
        First::Writing(ending) => Some(ending),
        First::Listening(()) => timeout(LAST_WORDS, writing).await.ok(),
    }
}

struct Exchange {
    codec: Codec,
    state: Mutex<State>,
    done: Notify,
}

struct State {
    /// What is said, once.
    message: Option<Bytes>,
    wants_welcome: bool,
    replies: Replies,
    welcome: Option<Welcome>,
}

impl Exchange {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is_done(&self) {
        loop {
            {
                let state = self.state();
                let is_welcomed = !state.wants_welcome || state.welcome.is_some();
                if state.replies.is_done() && (is_welcomed || state.replies.has_failed()) {
                    return;
                }
            }
            self.done.notified().await;
        }
    }
}

/// One request and its response.
struct ExchangeLink(Arc<Exchange>);

impl Link for ExchangeLink {
    const TRANSPORT: Option<Transport> = None;

    async fn recv(&self) -> Received {
        let message = self.0.state().message.take();
        match message {
            Some(message) => Received::Message(message),
            None => pending().await,
        }
    }

    async fn send(&self, message: Bytes) -> io::Result<()> {
        let bytes = message.len();
        let frames = self.0.codec.decode_server(message, bytes);
        let frames = frames.map_err(io::Error::other)?;
        let mut state = self.0.state();
        for frame in frames {
            match frame {
                ServerKind::Welcome(welcome) if state.wants_welcome => {
                    // There is no session that could be named.
                    state.welcome = Some(Welcome {
                        session: Bytes::new(),
                        home: 0,
                        ..welcome
                    });
                }
                frame => state.replies.take(frame),
            }
        }
        drop(state);
        self.0.done.notify_one();
        Ok(())
    }

    async fn close(&self, _: Ending) {}
}
