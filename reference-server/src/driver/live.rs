//! A session over HTTP, as requests reach it while its link is open.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::wire::Codec;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::link::Received;
use crate::connection::Ending;
use crate::connection::http::{Desk, DeskHeard, HttpSession, Polled, Refused};

/// A session, shared by its link and by the requests that name it.
#[derive(Debug)]
pub(crate) struct Live {
    codec: Codec,
    desk: Mutex<Desk<oneshot::Sender<Polled>>>,
    /// One permit: the connection has something to hear.
    heard: Notify,
    /// Until when the poll that is held is held.
    held: watch::Sender<Option<Instant>>,
}

impl Live {
    /// One whose link is about to open, with its first message, and whoever waits for the answer to poll 1.
    pub(crate) fn open(
        codec: Codec,
        message: Bytes,
        polls: bool,
    ) -> (Self, Option<oneshot::Receiver<Polled>>) {
        let (answer, answered) = polls.then(oneshot::channel).unzip();
        // How long it may take to let somebody in is the connection's business.
        let until = polls.then(|| Instant::now() + super::LONG);
        let live = Self {
            codec,
            desk: Mutex::new(Desk::open(codec, message, answer)),
            heard: Notify::new(),
            held: watch::Sender::new(until),
        };
        (live, answered)
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// What is done under the lock does not panic half-way.
    fn desk(&self) -> MutexGuard<'_, Desk<oneshot::Sender<Polled>>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody was let in.
    pub(super) fn let_in(&self, rules: HttpSession) {
        self.desk().let_in(rules);
    }

    /// Its link is gone: no request is answered by it any more, and one that is held breaks off.
    pub(super) fn end(&self) {
        drop(self.desk().end());
    }

    /// Takes what a request brings. `poll`: its number, and how long it may be held. `post`: the number of a POST.
    pub(crate) fn accept(
        &self,
        who: &str,
        codec: Codec,
        poll: Option<(u32, Duration)>,
        post: u32,
        message: Bytes,
    ) -> Result<Option<oneshot::Receiver<Polled>>, Refused> {
        let (answer, answered) = poll.is_some().then(oneshot::channel).unzip();
        let numbered = poll.map(|(number, _)| number).zip(answer);
        {
            let mut desk = self.desk();
            if let Some(before) = desk.accept(who, codec, numbered, post, message)? {
                let _ = before.send(Polled::Nothing);
            }
            if let Some((_, hold)) = poll {
                self.held.send_replace(Some(Instant::now() + hold));
            }
        }
        self.heard.notify_one();
        Ok(answered)
    }

    /// The poll that its client owes, if it polls and none is held.
    pub(crate) fn awaited_poll(&self) -> Option<u32> {
        self.desk().awaited_poll()
    }

    /// Its client hung up: it does not come back to this session.
    pub(crate) fn hang_up(&self) {
        self.desk().hang_up();
        self.heard.notify_one();
    }

    /// What comes next from the client. Cancel-safe.
    pub(super) async fn next(&self) -> Received {
        loop {
            let heard = self.desk().heard();
            match heard {
                Some(DeskHeard::HungUp) => return Received::Gone(Ending::AWAY),
                Some(DeskHeard::Message(message)) => return Received::Message(message),
                Some(DeskHeard::Life) => return Received::Life,
                None => {}
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
        let mut desk = self.desk();
        if self
            .held
            .borrow()
            .is_some_and(|until| until <= Instant::now())
        {
            self.held.send_replace(None);
            if let Some(parked) = desk.end_hold() {
                let _ = parked.send(Polled::Nothing);
            }
        }
    }

    /// Answers the poll that is held, or the next one that comes.
    pub(super) async fn send(&self, message: Bytes) -> io::Result<()> {
        loop {
            self.polled().await;
            let mut desk = self.desk();
            if let Some((parked, polled)) = desk.answer(message.clone()) {
                self.held.send_replace(None);
                // Whoever hung up knows that a message may be lost, and opens another session.
                return parked
                    .send(polled)
                    .map_err(|_| io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::ErrorCode;

    use super::*;
    use crate::connection::http::Polls;

    const PROTO: Codec = Codec::Protobuf;
    const HOLD: Duration = Duration::from_secs(25);

    fn polled() -> (Live, oneshot::Receiver<Polled>) {
        let (live, first) = Live::open(PROTO, "hello".into(), true);
        let first = first.unwrap();
        live.let_in(HttpSession::new("ana".into(), PROTO, Some(Polls::opened())));
        (live, first)
    }

    fn poll(live: &Live, number: u32) -> oneshot::Receiver<Polled> {
        let accepted = live.accept("ana", PROTO, Some((number, HOLD)), 0, Bytes::new());
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
            live.accept("ana", PROTO, Some((3, HOLD)), 0, Bytes::new())
                .is_err()
        );
    }

    #[tokio::test]
    async fn what_is_sent_to_who_hung_up_breaks_the_link() {
        let (live, first) = polled();
        drop(first);
        assert!(live.send("a".into()).await.is_err());
        live.hang_up();
        // What it said before that comes first.
        assert!(matches!(live.next().await, Received::Message(_)));
        assert!(matches!(live.next().await, Received::Gone(Ending::AWAY)));
    }

    #[tokio::test]
    async fn nobody_is_there_before_somebody_was_let_in() {
        let (live, first) = Live::open(PROTO, "hello".into(), true);
        let mut first = first.unwrap();
        let early = live
            .accept("ana", PROTO, None, 0, Bytes::new())
            .unwrap_err();
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
        let late = live.accept("ana", PROTO, Some((2, HOLD)), 0, Bytes::new());
        assert_eq!(late.unwrap_err().status, 410);
    }
}
