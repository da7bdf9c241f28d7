//! A session as requests see it: who may use it, and which poll is next.

use std::sync::Arc;

use tidewire_core::planted;
use tidewire_core::wire::{Codec, ErrorCode};

use super::{OutOfTurn, Polls, Refused};

/// What a session over HTTP was opened with.
#[derive(Clone, Debug)]
pub struct HttpSession {
    who: Arc<str>,
    codec: Codec,
    /// `None`: it has a stream.
    polls: Option<Polls>,
    /// The newest POST whose frames were handed over.
    posted: u32,
}

impl HttpSession {
    /// Of this principal, who was let in just now.
    #[must_use]
    pub const fn new(who: Arc<str>, codec: Codec, polls: Option<Polls>) -> Self {
        Self {
            who,
            codec,
            polls,
            posted: 0,
        }
    }

    /// Whether a request is for it: of its principal, in its codec, in its turn if it is a poll. Changes nothing.
    pub fn check(&self, who: &str, codec: Codec, poll: Option<u32>) -> Result<(), Refused> {
        if *self.who != *who {
            let detail = "this session belongs to another principal";
            return Err(Refused::new(ErrorCode::WrongPrincipal, detail));
        }
        if self.codec != codec {
            let detail = format!("this session speaks {}", self.codec.media_type());
            return Err(Refused::new(ErrorCode::Unsupported, detail).with_status(415));
        }
        match (poll, &self.polls) {
            (None, _) => Ok(()),
            (Some(number), Some(polls)) if polls.is_next(number) => Ok(()),
            (Some(_), Some(_)) if planted!(PollNumbersIgnored) => Ok(()),
            (Some(_), _) => Err(out_of_turn()),
        }
    }

    /// Takes a poll. `Ok(true)`: the one before it is held, and is answered without frames now.
    pub fn take_poll(&mut self, number: u32) -> Result<bool, Refused> {
        let polls = self.polls.as_mut().ok_or_else(out_of_turn)?;
        polls.take(number).map_err(|OutOfTurn| out_of_turn())
    }

    /// Takes a POST. `false`: it is a copy, or comes behind a newer one: what it says for the session was said, or does
    /// not hold any more. 0: its client does not count.
    pub fn take_post(&mut self, number: u32) -> bool {
        let is_newest = number == 0 || number > self.posted || planted!(LatePostCounts);
        self.posted = self.posted.max(number);
        is_newest
    }

    /// The poll that its client owes, if it polls and none is held.
    #[must_use]
    pub fn awaited_poll(&self) -> Option<u32> {
        self.polls.as_ref().and_then(Polls::awaited)
    }

    /// The poll that is held gets its answer.
    pub fn answer_poll(&mut self) {
        if let Some(polls) = &mut self.polls {
            polls.answer();
        }
    }
}

fn out_of_turn() -> Refused {
    let detail = "this is not the next poll of its session; open another one";
    Refused::new(ErrorCode::UnexpectedFrame, detail).with_status(409)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_for_its_principal_its_codec_and_its_next_poll() {
        let polls = Some(Polls::opened());
        let mut session = HttpSession::new("ana".into(), Codec::Protobuf, polls);
        let proto = Codec::Protobuf;
        let status = |who, codec, poll| session.check(who, codec, poll).map_err(|r| r.status);
        assert_eq!(status("ana", proto, None), Ok(()));
        assert_eq!(status("ana", proto, Some(2)), Ok(()));
        assert_eq!(status("ana", proto, Some(3)), Err(409));
        assert_eq!(status("bob", proto, Some(2)), Err(403));
        assert_eq!(status("ana", Codec::Json, None), Err(415));
        assert_eq!(session.take_poll(2), Ok(true));
        session.answer_poll();
        assert_eq!(session.take_poll(3), Ok(false));
        assert!([0, 1, 3, 0].map(|number| session.take_post(number)) == [true; 4]);
        assert!([3, 2, 1].map(|number| session.take_post(number)) == [false; 3]);
        let mut stream = HttpSession::new("ana".into(), proto, None);
        assert_eq!(stream.take_poll(2).map_err(|r| r.status), Err(409));
    }
}
