//! Where the requests of a session over HTTP and its connection meet: messages up, and the poll that is held.
//!
//! Nothing here waits: how long a poll is held is its driver's business. `P` is whoever waits for a poll's answer.
//!
//! Invariant: what is refused has changed nothing, and whoever waited is handed back exactly once.

use std::collections::VecDeque;

use bytes::Bytes;
use tidewire_core::wire::{Codec, ErrorCode};

use super::{HttpSession, Refused};

/// Messages that wait for the session's connection. Policy: the request that brings one more is told
/// `rate_limited`, since a connection that reads slowly does so because of its rate.
const MESSAGES_MAX: usize = 64;

/// Their bytes, with the same policy; a message alone may have more.
const BYTES_MAX: usize = 256 * 1024;

/// When a client that was too fast may come again.
const RETRY_MS: u32 = 1000;

/// What a poll is answered.
#[derive(Debug)]
pub enum Polled {
    /// One message.
    Message(Bytes),
    /// There was none.
    Nothing,
    /// The session ended before it let anybody in.
    Refused(Refused),
}

/// What a connection hears of its requests.
#[derive(Debug, PartialEq, Eq)]
pub enum DeskHeard {
    /// A message.
    Message(Bytes),
    /// A sign of life.
    Life,
    /// Its client hung up a request that was held.
    HungUp,
}

/// One session's.
#[derive(Debug)]
pub struct Desk<P> {
    codec: Codec,
    /// `None`: nobody was let in yet, or its link is gone.
    rules: Option<HttpSession>,
    parked: Option<P>,
    messages: VecDeque<Bytes>,
    bytes: usize,
    life: bool,
    hung_up: bool,
}

impl<P> Desk<P> {
    /// Takes the first message. `poll`: who waits for the answer to poll 1, if one has opened the session.
    #[must_use]
    pub fn open(codec: Codec, message: Bytes, poll: Option<P>) -> Self {
        Self {
            codec,
            rules: None,
            parked: poll,
            bytes: message.len(),
            messages: VecDeque::from([message]),
            life: false,
            hung_up: false,
        }
    }

    /// Somebody was let in.
    pub fn let_in(&mut self, rules: HttpSession) {
        self.rules = Some(rules);
    }

    /// Its link is gone: no request is answered by it any more. Who waits is told nothing.
    pub fn end(&mut self) -> Option<P> {
        self.rules = None;
        self.parked.take()
    }

    /// Takes what a request brings. `poll`: its number, and who waits for its answer. `post`: the number of a POST; 0:
    /// it has none. Returns who waited before, and is answered without a message now.
    pub fn accept(
        &mut self,
        who: &str,
        codec: Codec,
        poll: Option<(u32, P)>,
        post: u32,
        message: Bytes,
    ) -> Result<Option<P>, Refused> {
        let rules = self.rules.as_mut().ok_or_else(Refused::moved)?;
        let number = poll.as_ref().map(|(number, _)| *number);
        rules.check(who, codec, number)?;
        if !message.is_empty() {
            let is_full =
                self.messages.len() >= MESSAGES_MAX || self.bytes + message.len() > BYTES_MAX;
            if is_full && !self.messages.is_empty() {
                let detail = "too much of this session waits; send more slowly";
                let refused = Refused::new(ErrorCode::RateLimited, detail);
                return Err(refused.after_ms(RETRY_MS));
            }
            if rules.take_post(post) {
                self.bytes += message.len();
                self.messages.push_back(message);
            }
        }
        self.life = true;
        match poll {
            Some((number, waits)) => {
                rules.take_poll(number)?;
                Ok(self.parked.replace(waits))
            }
            None => Ok(None),
        }
    }

    /// The poll that its client owes, if it polls and none is held.
    #[must_use]
    pub fn awaited_poll(&self) -> Option<u32> {
        self.rules.as_ref().and_then(HttpSession::awaited_poll)
    }

    /// Its client hung up: it does not come back to this session.
    pub fn hang_up(&mut self) {
        self.hung_up = true;
    }

    /// What comes next from the client. What it said before it hung up was answered: that it leaves, for instance.
    pub fn heard(&mut self) -> Option<DeskHeard> {
        if let Some(message) = self.messages.pop_front() {
            self.bytes = self.bytes.saturating_sub(message.len());
            return Some(DeskHeard::Message(message));
        }
        if self.hung_up {
            return Some(DeskHeard::HungUp);
        }
        std::mem::take(&mut self.life).then_some(DeskHeard::Life)
    }

    /// Whether somebody waits for a message.
    #[must_use]
    pub const fn is_polled(&self) -> bool {
        self.parked.is_some()
    }

    /// Whether this one waits.
    #[must_use]
    pub fn is_held_by(&self, waits: &P) -> bool
    where
        P: PartialEq,
    {
        self.parked.as_ref() == Some(waits)
    }

    /// A message for whoever waits, and what it is to them. `None`: nobody waits, and the message stays where it is.
    pub fn answer(&mut self, message: Bytes) -> Option<(P, Polled)> {
        let waits = self.take_parked()?;
        let refused = match self.rules.is_none() {
            true => Refused::of_message(self.codec, &message).map(Polled::Refused),
            false => None,
        };
        Some((waits, refused.unwrap_or(Polled::Message(message))))
    }

    /// Whoever waits has waited for long enough.
    pub fn end_hold(&mut self) -> Option<P> {
        self.take_parked()
    }

    fn take_parked(&mut self) -> Option<P> {
        let waits = self.parked.take()?;
        if let Some(rules) = &mut self.rules {
            rules.answer_poll();
        }
        Some(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Polls;
    use super::*;

    const PROTO: Codec = Codec::Protobuf;

    fn polled() -> Desk<&'static str> {
        let mut desk = Desk::open(PROTO, "hello".into(), Some("first"));
        assert_eq!(desk.heard(), Some(DeskHeard::Message("hello".into())));
        desk.let_in(HttpSession::new("ana".into(), PROTO, Some(Polls::opened())));
        desk
    }

    #[test]
    fn a_message_answers_the_poll_that_is_held() {
        let mut desk = polled();
        assert!(matches!(desk.answer("a".into()), Some(("first", Polled::Message(m))) if m == "a"));
        assert!(desk.answer("b".into()).is_none());
        assert_eq!(
            desk.accept("ana", PROTO, Some((2, "second")), 0, Bytes::new()),
            Ok(None)
        );
        assert_eq!(desk.heard(), Some(DeskHeard::Life));
        let displaced = desk.accept("ana", PROTO, Some((3, "third")), 0, Bytes::new());
        assert_eq!(displaced, Ok(Some("second")));
        assert!(
            desk.accept("ana", PROTO, Some((3, "copy")), 0, "x".into())
                .is_err()
        );
        let farewell = desk.accept("ana", PROTO, None, 1, "bye".into());
        assert_eq!(farewell, Ok(None));
        desk.hang_up();
        assert_eq!(desk.heard(), Some(DeskHeard::Message("bye".into())));
        assert_eq!(desk.heard(), Some(DeskHeard::HungUp));
        assert_eq!(desk.end(), Some("third"));
    }

    #[test]
    fn what_waits_for_the_connection_is_bounded() {
        let mut desk = polled();
        let offer = |desk: &mut Desk<&'static str>, bytes: usize| {
            let message = Bytes::from(vec![0; bytes]);
            let taken = desk.accept("ana", PROTO, None, 0, message);
            taken.map(drop).map_err(|refused| refused.status)
        };
        // Any message fits when nothing waits.
        assert_eq!(offer(&mut desk, BYTES_MAX + 1), Ok(()));
        assert_eq!(offer(&mut desk, 1), Err(429));
        assert!(matches!(desk.heard(), Some(DeskHeard::Message(_))));
        for _ in 0..MESSAGES_MAX {
            assert_eq!(offer(&mut desk, 1), Ok(()));
        }
        assert_eq!(offer(&mut desk, 1), Err(429));
        // That it lives is heard all the same.
        assert_eq!(offer(&mut desk, 0), Ok(()));
    }
}
