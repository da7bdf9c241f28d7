//! The server's side of one connection, sans-IO: messages, time and answers in; frames, questions
//! and inputs for channels out.
//!
//! What a client says is handled in its order. A frame that has to wait for an answer (who bears this
//! token, does this channel exist, is there room in its inbox) holds up what is behind it, and the
//! client's next message is not read: so nothing piles up here. Time goes on meanwhile.
//!
//! Invariant: whatever breaks the contract ends this connection alone, with a code; and a connection
//! that has ended is subscribed nowhere.

mod access;
mod config;
mod dispatch;
mod ending;
mod grants;
mod heartbeat;
mod hello;
pub mod http;
mod input;
mod posting;
mod refusal;
mod send_queue;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::{MonoTime, Now};
use tidewire_core::wire::{ClientKind, Codec, ErrorCode, Goaway, ServerKind};

pub use access::{Access, Create, Outlets, Pace};
pub use config::{ConnectionConfig, Fallback};
pub use ending::{EndReason, Ending, Fault};
pub use input::{ChannelRef, ConnectionInput, ConnectionOutput, Hand, Posted, To};
pub use send_queue::{QueueCounts, QueueLimits, SendQueue, Taken};

use crate::channel::{ChannelInput, PeerId, Subscriber};
use crate::limit::TokenBucket;
use dispatch::Opening;
use hello::{Identity, Newcomer};
use posting::Asked;
use subscriptions::Subscriptions;

/// What a connection is made of.
pub struct ConnectionParts {
    /// What channels call it.
    pub peer: PeerId,
    /// What `welcome` calls this session: 16 bytes that nobody can guess.
    pub session: [u8; 16],
    /// What was agreed when the link was opened.
    pub codec: Codec,
    /// The numbers.
    pub config: Arc<ConnectionConfig>,
    /// What settings and application say.
    pub access: Arc<dyn Access>,
    /// A rate that it shares with others.
    pub pace: Option<Arc<dyn Pace>>,
    /// Ways from channels to its send queue.
    pub outlets: Arc<dyn Outlets>,
}

/// One client's connection.
pub struct Connection<C> {
    parts: ConnectionParts,
    now: Now,
    opened: MonoTime,
    heard: MonoTime,
    heartbeat_at: MonoTime,
    identity: Option<Identity>,
    /// When all tokens that were looked at are paid for.
    refreshes_paid: MonoTime,
    subscriptions: Subscriptions<C>,
    /// What the client has said and nobody has looked at.
    frames: VecDeque<ClientKind>,
    /// What the frame before those waits for.
    question: Option<Box<Question>>,
    /// `None`: as fast as it likes.
    bucket: Option<TokenBucket>,
    /// The next frame has to wait until then, and is paid for.
    paused_until: Option<MonoTime>,
    is_paid: bool,
    /// In a box: few are ever asked to leave.
    goaway: Option<Box<Goaway>>,
    has_ended: bool,
    /// Frames that were decoded since somebody last asked.
    heard_frames: u64,
    outputs: VecDeque<ConnectionOutput<C>>,
}

/// A question whose answer has not come. There is never more than one, and most of the time none: it has a
/// place of its own.
enum Question {
    Hello(Newcomer),
    Refresh,
    Open(Opening),
    Post(Asked),
}

impl<C: ChannelRef> Connection<C> {
    /// For a link that is open.
    #[must_use]
    pub fn new(parts: ConnectionParts, now: Now) -> Self {
        let config = &parts.config;
        Self {
            now,
            opened: now.mono,
            heard: now.mono,
            heartbeat_at: now.mono + config.heartbeat,
            identity: None,
            refreshes_paid: now.mono,
            subscriptions: Subscriptions::default(),
            frames: VecDeque::new(),
            question: None,
            bucket: (config.frames_per_second > 0)
                .then(|| TokenBucket::new(config.frames_per_second, config.frames_burst, now.mono)),
            paused_until: None,
            is_paid: false,
            goaway: None,
            has_ended: false,
            heard_frames: 0,
            outputs: VecDeque::new(),
            parts,
        }
    }

    /// Takes one fact. Infallible: what breaks the contract becomes [`ConnectionOutput::Fail`].
    pub fn handle_input(&mut self, now: Now, input: ConnectionInput<C>) {
        self.now = now;
        if self.has_ended {
            return;
        }
        let handled = match input {
            ConnectionInput::Message(message) => {
                self.heard = now.mono;
                self.handle_message(message)
            }
            ConnectionInput::Heard => {
                self.heard = now.mono;
                Ok(())
            }
            ConnectionInput::Refused(fault) => Err(fault),
            ConnectionInput::Gone { cleanly } => {
                self.end(cleanly);
                Ok(())
            }
            ConnectionInput::Authenticated(answer) => self.handle_authenticated(answer),
            ConnectionInput::Opened(answer) => {
                self.handle_opened(answer);
                Ok(())
            }
            ConnectionInput::Posted(posted) => {
                self.handle_posted(posted);
                Ok(())
            }
            ConnectionInput::Drain(goaway) => {
                self.handle_drain(goaway);
                Ok(())
            }
            ConnectionInput::Timeout => self.handle_timeout(),
        };
        if let Err(fault) = handled {
            self.fail(fault);
        }
    }

    /// The next thing to do. Poll until `Wait`.
    pub fn poll_output(&mut self) -> ConnectionOutput<C> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            match self.handle_next_frame() {
                Some(Ok(())) => {}
                Some(Err(fault)) => self.fail(fault),
                None => {
                    // Most connections are idle most of the time: they keep no room.
                    self.outputs = VecDeque::new();
                    return ConnectionOutput::Wait {
                        at: self.deadline(),
                        reads: self.reads(),
                    };
                }
            }
        }
    }

    /// How many channels it is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The channels that it is subscribed to, sorted.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.subscriptions.names()
    }

    /// Whether it is over: it asks for nothing more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Frames of the client since the last call.
    pub fn take_heard(&mut self) -> u64 {
        std::mem::take(&mut self.heard_frames)
    }

    /// What `welcome` calls this session.
    #[must_use]
    pub const fn session(&self) -> &[u8; 16] {
        &self.parts.session
    }

    /// Whether its client was let in.
    #[must_use]
    pub const fn is_welcomed(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether the client may be heard: nothing that it said waits.
    fn reads(&self) -> bool {
        !self.has_ended && self.question.is_none() && self.frames.is_empty()
    }

    fn handle_message(&mut self, message: Bytes) -> Result<(), Fault> {
        let bytes_max = self.parts.config.limits.frame_up_bytes as usize;
        let frames = self
            .parts
            .codec
            .decode_client(message, bytes_max)
            .map_err(|error| Fault::new(error.code(), error.to_string()))?;
        let frames_max = self.parts.config.frames_per_message_max;
        if frames.len() > frames_max {
            return Err(Fault::new(
                ErrorCode::UnexpectedFrame,
                format!(
                    "a message of {} frames is over {frames_max}; send them as several",
                    frames.len()
                ),
            ));
        }
        self.heard_frames += frames.len() as u64;
        self.frames.extend(frames);
        Ok(())
    }

    /// Asked to leave. Who is not let in yet is told then.
    fn handle_drain(&mut self, goaway: Goaway) {
        if self.is_welcomed() {
            self.send(ServerKind::Goaway(goaway.clone()));
        }
        self.goaway = Some(Box::new(goaway));
    }

    fn send(&mut self, frame: ServerKind) {
        self.outputs.push_back(ConnectionOutput::Send(frame));
    }

    fn fail(&mut self, fault: Fault) {
        if !self.has_ended {
            self.outputs.push_back(ConnectionOutput::Fail(fault));
            self.end(false);
        }
    }

    /// Lets go of everything. `cleanly`: its client does not come back on another link.
    fn end(&mut self, cleanly: bool) {
        self.has_ended = true;
        self.frames = VecDeque::new();
        // A subscribe that waits for room in an inbox may still get in: it is taken back too.
        let asked = match self.question.take().map(|question| *question) {
            Some(Question::Post(Asked::Subscribe(name, _))) => Some(name),
            _ => None,
        };
        for (name, task) in self.subscriptions.take() {
            if asked.as_ref() != Some(&name) {
                self.let_go(To::Task(task), cleanly);
            }
        }
        if let Some(name) = asked {
            self.let_go(To::Running(name), cleanly);
        }
    }

    /// A channel hears no more of this connection. One that is gone has nobody subscribed.
    fn let_go(&mut self, to: To<C>, cleanly: bool) {
        let peer = self.parts.peer;
        self.outputs.push_back(ConnectionOutput::Post {
            to,
            hand: Hand::Always,
            input: ChannelInput::Unsubscribe {
                conn: peer,
                cleanly,
            },
        });
    }

    fn subscriber(&self, name: &ChannelName) -> Option<Subscriber> {
        let identity = self.identity.as_ref()?;
        let known = self.subscriptions.outlet(name);
        let outlet = known.unwrap_or_else(|| Arc::clone(&self.parts.outlets).outlet(name));
        Some(Subscriber {
            conn: self.parts.peer,
            peer: identity.peer,
            principal: Arc::clone(&identity.name),
            author: identity.author,
            outlet,
            rights: Arc::clone(&identity.bearer) as _,
        })
    }
}
