//! The one task that connects the core to the world.
//!
//! The loop: take what the core wants done, do it, sleep until an input, a command or the deadline,
//! feed exactly that, repeat. It decides nothing by itself; retries, timeouts and back-off are the core's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::CloseCode;
use tidewire_core::{ConnId, Input, Output, TokenError};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep};

use crate::state::Shared;
use crate::token::TokenProvider;
use crate::transport::{Dialer, Http, Link};

/// How long the application may take to hand out a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How far away an alarm is set when there is no deadline.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything the task holds besides the session.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    dialer: Dialer,
    http: Http,
    provider: Arc<dyn TokenProvider>,
    /// The present link, and during a move the next one.
    links: Vec<Link>,
    /// The newest alone.
    probe: Option<BoxFuture<'static, Input>>,
    /// At most one: the core never asks twice. A task of its own, so that a panic stays there.
    token: JoinSet<Result<String, TokenError>>,
    /// Goodbyes under way, each bounded in time.
    goodbyes: JoinSet<()>,
}

/// Tells the handles when the task ends, even by a panic or with its runtime.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        dialer: Dialer,
        http: Http,
        provider: Arc<dyn TokenProvider>,
    ) -> Self {
        Self {
            shared,
            dialer,
            http,
            provider,
            links: Vec::with_capacity(2),
            probe: None,
            token: JoinSet::new(),
            goodbyes: JoinSet::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let shared = self.shared.clone();
        let _guard = EndGuard(shared.clone());
        let mut alarm = Alarm::new();
        let mut input = None;
        loop {
            let work = shared.turn(input.take());
            for order in work.orders {
                self.perform(order);
            }
            for delivery in work.deliveries {
                delivery.deliver(&shared);
            }
            if work.stop {
                break;
            }
            alarm.set(work.deadline, |deadline| shared.clock().instant(deadline));
            input = tokio::select! {
                input = next_of(&mut self.links) => Some(input),
                input = answer_to(&mut self.probe) => Some(input),
                Some(token) = self.token.join_next() => Some(Input::Token(settle_token(token))),
                () = shared.wake.notified() => None,
                () = alarm.ring() => Some(Input::Timeout),
                Some(_) = self.goodbyes.join_next() => None,
            };
            if let Some(Input::Closed { conn, .. }) = input {
                self.shut_down(conn, CloseCode::Normal);
            }
        }
        for link in self.links.drain(..) {
            self.goodbyes.spawn(link.shut_down(CloseCode::Normal));
        }
        while self.goodbyes.join_next().await.is_some() {}
    }

    fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.conn() == conn)
    }

    fn shut_down(&mut self, conn: ConnId, code: CloseCode) {
        if let Some(at) = self.links.iter().position(|link| link.conn() == conn) {
            let link = self.links.remove(at);
            self.goodbyes.spawn(link.shut_down(code));
        }
    }

    fn perform(&mut self, order: Output) {
        match order {
            Output::Open { conn, first } => {
                tracing::debug!(?conn, "dialling");
                let link = Box::new(self.dialer.dial(first));
                self.links.push(Link::WebSocket(conn, link));
            }
            Output::Send { conn, message } => {
                if let Some(link) = self.link(conn) {
                    link.send(message);
                }
            }
            Output::Request {
                conn,
                request,
                door,
                body,
                last,
            } => {
                if self.link(conn).is_none() {
                    tracing::debug!(?conn, ?door, "asking");
                    self.links.push(Link::Http(self.http.open(conn)));
                }
                if let Some(Link::Http(link)) = self.link(conn) {
                    link.request(request, door, body, last);
                }
            }
            Output::Abort { conn, request } => {
                if let Some(Link::Http(link)) = self.link(conn) {
                    link.abort(request);
                }
            }
            Output::Probe { probe } => self.probe = Some(self.http.probe(probe)),
            Output::Close { conn, code } => self.shut_down(conn, code),
            Output::FetchToken => {
                let provider = self.provider.clone();
                self.token.spawn(async move {
                    let token = tokio::time::timeout(TOKEN_TIMEOUT, provider.token());
                    token.await.unwrap_or_else(|_| {
                        Err(TokenError {
                            retryable: true,
                            detail: format!("no token within {} s", TOKEN_TIMEOUT.as_secs()),
                        })
                    })
                });
            }
            Output::Outbox(_) | Output::Event(_) | Output::Wait(_) => {
                unreachable!("settled under the lock")
            }
        }
    }
}

/// The next input from any link. The newest is asked first: what an old one still has can wait, and it
/// falls silent before long, while a busy old one could starve the link that takes its place.
async fn next_of(links: &mut [Link]) -> Input {
    std::future::poll_fn(|cx| {
        for link in links.iter_mut().rev() {
            let next = link.poll(cx);
            if next.is_ready() {
                return next;
            }
        }
        Poll::Pending
    })
    .await
}

/// What a probe has found, once.
async fn answer_to(probe: &mut Option<BoxFuture<'static, Input>>) -> Input {
    let Some(asked) = probe else {
        return std::future::pending().await;
    };
    let found = asked.await;
    *probe = None;
    found
}

fn settle_token(
    token: Result<Result<String, TokenError>, JoinError>,
) -> Result<String, TokenError> {
    token.unwrap_or_else(|_| {
        Err(TokenError {
            retryable: true,
            detail: "the token provider panicked".into(),
        })
    })
}

/// One timer, moved only when the deadline moves.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<MonoTime>,
}

impl Alarm {
    fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(FAR)),
            at: None,
        }
    }

    fn set(&mut self, at: Option<MonoTime>, instant: impl Fn(MonoTime) -> Option<Instant>) {
        if self.at != at {
            self.at = at;
            let far = Instant::now() + FAR;
            self.sleep
                .as_mut()
                .reset(at.and_then(instant).unwrap_or(far).min(far));
        }
    }

    async fn ring(&mut self) {
        self.sleep.as_mut().await;
        // It rang: the next `set` must move it, even to the same deadline.
        self.at = None;
    }
}
