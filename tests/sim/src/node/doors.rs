//! The doors for sessions over HTTP: what a node does with a request, by the server's own rules.
//!
//! As in the driver of the real server, a request is read, its token is looked at, what is for a session goes to its
//! home, and pushes are evaluated where they come in, by a connection of their own.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{Codec, Hello, ServerKind, decode_server};
use tidewire_server::Principal;
use tidewire_server::channel::PeerId;
use tidewire_server::connection::http::{
    Desk, DeskHeard, Door, Handle, HttpRequest, HttpSession, Polled, Polls, Post, Refused, Replies,
};
use tidewire_server::connection::{ConnectionConfig, Ending, Fallback, Taken as FromQueue};

use super::{Effect, Node};
use crate::link::LinkId;
use crate::violation::{Checked, Violation, ensure};

/// Names a request, and whoever waits for its answer.
pub type Key = u64;

/// What a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200, whole.
    Body(Bytes),
    /// Another status.
    Refused(Refused),
    /// It breaks off.
    Broken,
}

const CODEC: Codec = Codec::Protobuf;

/// How long a POST waits for the answers to its pushes.
const EVALUATE_MS: u64 = 8_000;

/// How messages reach a connection, and how its own go out.
#[derive(Debug)]
pub(super) enum Reach {
    Socket,
    Stream(Desk<Key>),
    Polls(Desk<Key>),
    /// The pushes of one POST.
    Post {
        key: Key,
        replies: Option<Replies>,
        principal: Principal,
    },
}

impl Reach {
    pub(super) fn desk(&mut self) -> Option<&mut Desk<Key>> {
        match self {
            Self::Stream(desk) | Self::Polls(desk) => Some(desk),
            Self::Socket | Self::Post { .. } => None,
        }
    }

    pub(super) fn next(&mut self) -> Option<DeskHeard> {
        self.desk()?.heard()
    }

    pub(super) fn vouched(&self) -> Option<&Principal> {
        match self {
            Self::Post { principal, .. } => Some(principal),
            _ => None,
        }
    }

    pub(super) fn let_in(&mut self, principal: &Principal) {
        let polls = matches!(self, Self::Polls(_)).then(Polls::opened);
        if let Some(desk) = self.desk() {
            desk.let_in(HttpSession::new(principal.shared_name(), CODEC, polls));
        }
    }

    /// Its connection is gone: whoever waits is told nothing more.
    pub(super) fn end(self, effects: &mut Vec<Effect>) {
        match self {
            Self::Stream(mut desk) | Self::Polls(mut desk) => {
                if let Some(key) = desk.end() {
                    effects.push(Effect::Answer(key, Answer::Broken));
                }
            }
            Self::Post {
                key,
                replies: Some(replies),
                ..
            } => effects.push(Effect::Answer(key, Answer::Body(encode(replies.finish())))),
            Self::Socket | Self::Post { .. } => {}
        }
    }
}

/// What a request wants of a session.
#[derive(Debug)]
pub struct Wish {
    /// Which.
    pub session: [u8; 16],
    /// Whose request it is.
    pub who: Principal,
    /// The number of a poll, who waits for its answer, and how long it is held.
    pub poll: Option<(u32, Key, u64)>,
    /// The number of a POST; 0: none.
    pub post: u32,
    /// Frames.
    pub message: Bytes,
}

/// A request that a node has read.
#[derive(Debug)]
pub enum Taken {
    /// A new session.
    Open(Bytes),
    /// For a session, wherever it lives; `then`: pushes that are evaluated here after that.
    Session {
        /// Which.
        handle: Handle,
        /// Of whom.
        who: Principal,
        /// Which poll it is.
        poll: Option<u32>,
        /// Which POST it is; 0: none.
        post: u32,
        /// Its frames.
        message: Bytes,
        /// What comes after that.
        then: Option<Box<(Post, Principal)>>,
    },
    /// Pushes alone.
    Pushes(Box<(Post, Principal)>),
}

impl Node {
    /// Its number in handles, in this life.
    #[must_use]
    pub fn home(&self) -> u32 {
        u32::try_from(self.identity.wrapping_add(self.life) & 0xffff_ffff).unwrap_or(0)
    }

    pub(super) fn connection_config(&self) -> ConnectionConfig {
        let fallback = Fallback {
            home: self.home(),
            poll: Duration::from_secs(3),
        };
        ConnectionConfig {
            fallback: self.shape.speaks_http().then_some(fallback),
            ..self.shape.connection()
        }
    }

    /// Reads a request. `authenticate`: what the application says of a token.
    pub fn read_request(
        &self,
        door: Door,
        body: Bytes,
        authenticate: impl FnOnce(&Hello) -> Result<Principal, Refused>,
    ) -> Checked<Result<Taken, Refused>> {
        let read = HttpRequest::read(door, CODEC, body, &self.connection_config());
        let request =
            read.map_err(|refused| Violation::new("wire", format!("{door:?}: {refused:?}")))?;
        let hello = match &request {
            HttpRequest::Open(message) => return Ok(Ok(Taken::Open(message.clone()))),
            HttpRequest::Poll { hello, .. } => hello,
            HttpRequest::Post(post) => &post.hello,
        };
        let who = match authenticate(hello) {
            Ok(who) => who,
            Err(refused) => return Ok(Err(refused)),
        };
        let author = who.author(&hello.client);
        ensure(hello.expect_author == author.0[..], "wire", || {
            format!("a request of {who:?} expects {:?}", hello.expect_author)
        })?;
        Ok(Ok(match request {
            HttpRequest::Poll {
                handle,
                number,
                message,
                ..
            } => Taken::Session {
                handle,
                who,
                poll: Some(number),
                post: 0,
                message,
                then: None,
            },
            HttpRequest::Post(post) => {
                let is_for_session = !post.for_session.is_empty() || post.replies.is_done();
                match post.handle.filter(|_| is_for_session) {
                    Some(handle) => Taken::Session {
                        handle,
                        who: who.clone(),
                        poll: None,
                        post: post.number,
                        message: post.for_session.clone(),
                        then: (!post.replies.is_done()).then(|| Box::new((post, who))),
                    },
                    None => Taken::Pushes(Box::new((post, who))),
                }
            }
            HttpRequest::Open(message) => Taken::Open(message),
        }))
    }

    /// A stream, or poll 1, opens a session.
    pub fn open_session(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        link: LinkId,
        poll: Option<Key>,
        message: Bytes,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let desk = Desk::open(CODEC, message, poll);
        let reach = match poll {
            Some(_) => Reach::Polls(desk),
            None => Reach::Stream(desk),
        };
        self.admit(now_ms, conn, Some(link), reach, effects)?;
        self.read(now_ms, conn, effects)
    }

    /// Takes a request to its session, which lives here or nowhere. `Ok(true)`: the answer comes later.
    pub fn take_here(
        &mut self,
        now_ms: u64,
        wish: Wish,
        effects: &mut Vec<Effect>,
    ) -> Checked<Result<bool, Refused>> {
        let Wish {
            session,
            who,
            poll,
            post,
            message,
        } = wish;
        let conn = PeerId(u64::try_from(u128::from_be_bytes(session)).unwrap_or(0));
        let Some(desk) = self.peers.get_mut(&conn).and_then(|peer| peer.reach.desk()) else {
            return Ok(Err(Refused::moved()));
        };
        let numbered = poll.map(|(number, key, _)| (number, key));
        match desk.accept(who.name(), CODEC, numbered, post, message) {
            Ok(before) => {
                let before = before.map(|key| Effect::Answer(key, Answer::Body(Bytes::new())));
                effects.extend(before);
                effects.extend(poll.map(|(_, key, ms)| Effect::Hold(conn, key, ms)));
            }
            Err(refused) => return Ok(Err(refused)),
        }
        self.read(now_ms, conn, effects)?;
        effects.push(Effect::Flush(conn));
        Ok(Ok(poll.is_some()))
    }

    /// The link that a session's messages travel on.
    #[must_use]
    pub fn link_of_session(&self, session: [u8; 16]) -> Option<LinkId> {
        let conn = PeerId(u64::try_from(u128::from_be_bytes(session)).ok()?);
        self.peers.get(&conn)?.link
    }

    /// The pushes of a POST are evaluated.
    pub fn evaluate(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        key: Key,
        post: Post,
        principal: Principal,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let reach = Reach::Post {
            key,
            replies: Some(post.replies),
            principal,
        };
        self.admit(now_ms, conn, None, reach, effects)?;
        effects.push(Effect::Evaluate(conn, EVALUATE_MS));
        self.handle_message(now_ms, conn, &post.message, effects)
    }

    /// A poll has been held for long enough, if it still is.
    pub fn hold_ends(&mut self, conn: PeerId, key: Key, effects: &mut Vec<Effect>) {
        let desk = self.peers.get_mut(&conn).and_then(|peer| peer.reach.desk());
        if let Some(desk) = desk
            && desk.is_held_by(&key)
            && let Some(key) = desk.end_hold()
        {
            effects.push(Effect::Answer(key, Answer::Body(Bytes::new())));
        }
    }

    /// The client hung up a request that was held.
    pub fn hang_up(&mut self, now_ms: u64, conn: PeerId, effects: &mut Vec<Effect>) -> Checked {
        let desk = self.peers.get_mut(&conn).and_then(|peer| peer.reach.desk());
        if let Some(desk) = desk {
            desk.hang_up();
        }
        self.read(now_ms, conn, effects)
    }

    /// Whether its messages travel on a link, not in answers.
    #[must_use]
    pub fn is_on_link(&self, conn: PeerId) -> bool {
        let reach = self.peers.get(&conn).map(|peer| &peer.reach);
        matches!(reach, Some(Reach::Socket | Reach::Stream(_)))
    }

    /// Moves what is queued into answers. `Some`: the connection has ended.
    pub fn answer(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        effects: &mut Vec<Effect>,
    ) -> Checked<Option<Ending>> {
        while let Some(peer) = self.peers.get_mut(&conn) {
            if let Reach::Polls(desk) = &peer.reach
                && !desk.is_polled()
            {
                return Ok(None);
            }
            match peer.queue.take() {
                None => break,
                Some(FromQueue::End(ending)) => return Ok(Some(ending)),
                Some(FromQueue::Message {
                    message, drained, ..
                }) => {
                    match &mut peer.reach {
                        Reach::Polls(desk) => {
                            if let Some((key, polled)) = desk.answer(message) {
                                effects.push(Effect::Answer(
                                    key,
                                    match polled {
                                        Polled::Message(body) => Answer::Body(body),
                                        Polled::Nothing => Answer::Body(Bytes::new()),
                                        Polled::Refused(refused) => Answer::Refused(refused),
                                    },
                                ));
                            }
                        }
                        Reach::Post {
                            replies: Some(replies),
                            ..
                        } => {
                            let frames = decode_server(message, usize::MAX);
                            let frames = frames
                                .map_err(|e| Violation::new("wire", format!("nonsense: {e}")))?;
                            frames.into_iter().for_each(|frame| replies.take(frame));
                        }
                        _ => {}
                    }
                    self.drained(conn, &drained, effects);
                }
            }
        }
        let is_answered = self.peers.get(&conn).is_some_and(|peer| {
            matches!(&peer.reach, Reach::Post { replies: Some(replies), .. } if replies.is_done())
        });
        if is_answered {
            self.forget(now_ms, conn, false, effects)?;
        }
        Ok(None)
    }

    /// Whether its connection has ended, and the last words wait for a poll.
    #[must_use]
    pub fn is_over(&self, conn: PeerId) -> bool {
        self.peers
            .get(&conn)
            .is_some_and(|peer| peer.queue.lock().has_ending())
    }
}

fn encode(frames: Vec<ServerKind>) -> Bytes {
    let mut body = BytesMut::new();
    for frame in frames {
        CODEC.encode_server(frame, &mut body);
    }
    body.freeze()
}
