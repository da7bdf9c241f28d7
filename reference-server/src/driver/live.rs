//! A session over HTTP, as requests reach it while its link is open.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::wire::{Codec, ErrorCode};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::link::Received;
use crate::connection::Ending;
use crate::connection::http::{HttpSession, Refused};

/// Messages that wait for the session's connection. Policy: the request that brings one more is told
/// `rate_limited`, since a connection that reads slowly does so because of its rate.
const MESSAGES_MAX: usize = 64;

/// Their bytes, with the same policy; a message alone may have more.
const BYTES_MAX: usize = 256 * 1024;

/// When a client that was too fast may come again.
const RETRY_MS: u32 = 1000;

/// What a poll is answered.
#[derive(Debug)]
pub(crate) enum Polled {
    /// One message.
    Message(Bytes),
    /// There was none.
    Nothing,
    /// The session ended before it let anybody in.
    Refused(Refused),
}

/// A session, shared by its link and by the requests that name it.
#[derive(Debug)]
pub(crate) struct Live {
    codec: Codec,
    state: Mutex<State>,
    /// One permit: the connection has something to hear.
    heard: Notify,
    /// Until when the poll that is held is held.
    held: watch::Sender<Option<Instant>>,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: nobody was let in yet.
    rules: Option<HttpSession>,
    parked: Option<oneshot::Sender<Polled>>,
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// It was heard of.
    life: bool,
    /// Its client hung up a request that was held.
    hung_up: bool,
}

impl Live {
    /// One whose link is about to open.
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            state: Mutex::default(),
            heard: Notify::new(),
            held: watch::Sender::new(None),
        }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// What is done under the lock does not panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first message, and parks poll 1 if it was opened by one.
    pub(crate) fn open(&self, message: Bytes, polls: bool) -> Option<oneshot::Receiver<Polled>> {
        let mut state = self.state();
        state.messages.push_back(message);
        // How long it may take to let somebody in is the connection's business.
        polls.then(|| self.park(&mut state, Instant::now() + super::LONG))
    }

    /// Somebody was let in.
    pub(super) fn let_in(&self, rules: HttpSession) {
        self.state().rules = Some(rules);
    }

    /// Its link is gone: no request is answered by it any more, and one that is held breaks off.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.rules = None;
        state.parked = None;
    }

    /// Takes what a request brings. `poll`: its number, and how long it may be held.
    pub(crate) fn accept(
        &self,
        who: &str,
        codec: Codec,
        poll: Option<(u32, Duration)>,
        message: Bytes,
    ) -> Result<Option<oneshot::Receiver<Polled>>, Refused> {
        let mut state = self.state();
        let State {
            rules,
            messages,
            bytes,
            ..
        } = &mut *state;
        let rules = rules.as_mut().ok_or_else(Refused::moved)?;
        rules.check(who, codec, poll.map(|(number, _)| number))?;
        if !message.is_empty() {
            let is_full = messages.len() >= MESSAGES_MAX || *bytes + message.len() > BYTES_MAX;
            if is_full && !messages.is_empty() {
                let detail = "too much of this session waits; send more slowly";
                let refused = Refused::new(ErrorCode::RateLimited, detail);
                return Err(refused.after_ms(RETRY_MS));
            }
            *bytes += message.len();
            messages.push_back(message);
        }
        let parked = match poll {
            Some((number, hold)) => {
                rules.take_poll(number)?;
                Some(self.park(&mut state, Instant::now() + hold))
            }
            None => None,
        };
        state.life = true;
        drop(state);
        self.heard.notify_one();
        Ok(parked)
    }

    /// Holds a poll. The one before it is answered without a message.
    fn park(&self, state: &mut State, until: Instant) -> oneshot::Receiver<Polled> {
        let (answer, answered) = oneshot::channel();
        if let Some(before) = state.parked.replace(answer) {
            let _ = before.send(Polled::Nothing);
        }
        self.held.send_replace(Some(until));
        answered
    }

    /// Its client hung up: it does not come back to this session.
    pub(crate) fn hang_up(&self) {
        self.state().hung_up = true;
        self.heard.notify_one();
    }

    /// What comes next from the client. Cancel-safe.
    pub(super) async fn next(&self) -> Received {
        loop {
            {
                let mut state = self.state();
                if state.hung_up {
                    return Received::Gone(Ending::AWAY);
                }
                if let Some(message) = state.messages.pop_front() {
                    state.bytes = state.bytes.saturating_sub(message.len());
                    return Received::Message(message);
                }
                if std::mem::take(&mut state.life) {
                    return Received::Life;
                }
            }
            self.heard.notified().await;
        }
    }

    /// Waits until a poll is held. Cancel-safe.
    pub(super) async fn polled(&self) {
        // The sender lives as long as `self`.
        let _ = self.held.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until a poll has been held for as long as it may be. Cancel-safe.
    pub(super) async fn held_long_enough(&self) {
        let mut held = self.held.subscribe();
        loop {
            let until = *held.borrow_and_update();
            let elapsed = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = elapsed => return,
                _ = held.changed() => {}
            }
        }
    }

    /// Answers a poll that was held for long enough.
    pub(super) fn end_hold(&self) {
        let mut state = self.state();
        if self
            .held
            .borrow()
            .is_some_and(|until| until <= Instant::now())
        {
            let _ = self.answer(&mut state, Polled::Nothing);
        }
    }

    /// Answers the poll that is held, or the next one that comes.
    pub(super) async fn send(&self, message: Bytes) -> io::Result<()> {
        loop {
            self.polled().await;
            let mut state = self.state();
            if state.parked.is_none() {
                continue;
            }
            let polled = match state.rules.is_none() {
                true => Refused::of_message(self.codec, &message).map(Polled::Refused),
                false => None,
            };
            return self.answer(&mut state, polled.unwrap_or(Polled::Message(message)));
        }
    }

    fn answer(&self, state: &mut State, polled: Polled) -> io::Result<()> {
        self.held.send_replace(None);
        if let Some(rules) = &mut state.rules {
            rules.answer_poll();
        }
        let Some(parked) = state.parked.take() else {
            return Ok(());
        };
        // Whoever hung up knows that a message may be lost, and opens another session.
        parked
            .send(polled)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::http::Polls;

    const PROTO: Codec = Codec::Protobuf;
    const HOLD: Duration = Duration::from_secs(25);

    fn polled() -> (Live, oneshot::Receiver<Polled>) {
        let live = Live::new(PROTO);
        let first = live.open("hello".into(), true).unwrap();
        live.let_in(HttpSession::new("ana".into(), PROTO, Some(Polls::opened())));
        (live, first)
    }

    fn poll(live: &Live, number: u32) -> oneshot::Receiver<Polled> {
        let accepted = live.accept("ana", PROTO, Some((number, HOLD)), Bytes::new());
        accepted.unwrap().unwrap()
    }

    fn is_message(polled: Result<Polled, oneshot::error::TryRecvError>, text: &str) -> bool {
        matches!(polled, Ok(Polled::Message(message)) if message == text)
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_answers_the_poll_that_is_held_and_waits_for_the_next_one() {
        let (live, mut first) = polled();
        live.send("a".into()).await.unwrap();
        assert!(is_message(first.try_recv(), "a"));
        let mut sending = std::pin::pin!(live.send("b".into()));
        assert!(futures_util::poll!(sending.as_mut()).is_pending());
        let mut second = poll(&live, 2);
        sending.await.unwrap();
        assert!(is_message(second.try_recv(), "b"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_ends_without_a_message_after_its_hold_or_with_the_next_one() {
        let (live, _first) = polled();
        let began = Instant::now();
        let mut second = poll(&live, 2);
        let mut third = poll(&live, 3);
        assert!(matches!(second.try_recv(), Ok(Polled::Nothing)));
        live.end_hold();
        assert!(third.try_recv().is_err(), "it is held");
        live.held_long_enough().await;
        assert_eq!(began.elapsed(), HOLD);
        live.end_hold();
        assert!(matches!(third.try_recv(), Ok(Polled::Nothing)));
        assert!(
            live.accept("ana", PROTO, Some((3, HOLD)), Bytes::new())
                .is_err()
        );
    }

    #[tokio::test]
    async fn what_is_sent_to_who_hung_up_breaks_the_link() {
        let (live, first) = polled();
        drop(first);
        assert!(live.send("a".into()).await.is_err());
        live.hang_up();
        assert!(matches!(live.next().await, Received::Gone(Ending::AWAY)));
    }

    #[tokio::test]
    async fn nobody_is_there_before_somebody_was_let_in() {
        let live = Live::new(PROTO);
        let mut first = live.open("hello".into(), true).unwrap();
        let early = live.accept("ana", PROTO, None, Bytes::new()).unwrap_err();
        assert_eq!(early.status, 410);
        let refused = Refused::new(ErrorCode::TokenExpired, "why");
        live.send(refused.body(PROTO)).await.unwrap();
        assert!(matches!(first.try_recv(), Ok(Polled::Refused(why)) if why == refused));
    }

    #[tokio::test]
    async fn when_its_link_is_gone_a_held_poll_breaks_off_and_nothing_more_is_taken() {
        let (live, mut first) = polled();
        live.end();
        assert_eq!(
            first.try_recv().err(),
            Some(oneshot::error::TryRecvError::Closed)
        );
        let late = live.accept("ana", PROTO, Some((2, HOLD)), Bytes::new());
        assert_eq!(late.unwrap_err().status, 410);
    }

    #[tokio::test]
    async fn what_waits_for_the_connection_is_bounded() {
        let (live, _first) = polled();
        assert!(matches!(live.next().await, Received::Message(_)));
        let offer = |bytes: usize| {
            let message = Bytes::from(vec![0; bytes]);
            live.accept("ana", PROTO, None, message)
                .map_err(|r| r.status)
        };
        // Any message fits when nothing waits.
        assert!(offer(BYTES_MAX + 1).is_ok());
        assert_eq!(offer(1).err(), Some(429));
        assert!(matches!(live.next().await, Received::Message(_)));
        for _ in 0..MESSAGES_MAX {
            assert!(offer(1).is_ok());
        }
        assert_eq!(offer(1).err(), Some(429));
        // That it lives is heard all the same.
        assert!(offer(0).is_ok());
    }
}
