//! The client's logical life with a server: routes inputs to parts and owns the output queue.
//!
//! `command.rs` holds what applications ask for, `view.rs` what they read, `inbound.rs` what a link brings,
//! `outbox.rs` what the store answers, `connection.rs`, `choosing.rs` and `moving.rs` the life of its links. Links,
//! channels and mutations have rooms of their own.

mod attention;
mod choosing;
mod command;
mod connection;
mod inbound;
mod moving;
mod outbox;
mod phase;
mod renew;
mod view;

use bytes::Bytes;
use fastrand::Rng;

pub use command::{PresenceError, SubscribeError};

use self::attention::Attention;
use self::phase::Phase;
use crate::channel::name::ChannelName;
use crate::channel::{Channel, ChannelId};
use crate::config::Config;
use crate::connect::{Backoff, Chain, ServerClock};
use crate::io::{ConnId, ConnectionPhase, ConnectionState, Input, Output};
use crate::link::outbound::Outbound;
use crate::mutation::ended::Ended;
use crate::mutation::{Opened, OutboxRequest};
use crate::sorted::SortedMap;
use crate::time::{MonoTime, Now};
use crate::wire::{ClientKind, Limits, Unsubscribe};

/// One client's side of the protocol, as a pure state machine.
///
/// Driver loop, the same everywhere: drain [`Self::poll_output`] until [`Output::Wait`]; sleep until an
/// input, a command or that moment; feed exactly that; repeat. Two sessions with the same seed and the
/// same inputs give the same outputs.
#[derive(Debug)]
pub struct Session {
    config: Config,
    /// What the outbox's store is, once it is open.
    store: Option<Opened>,
    /// What the store could not do, and when it is asked again. No more than was asked for.
    store_again: Vec<OutboxRequest>,
    store_again_at: Option<MonoTime>,
    rng: Rng,
    now: Now,
    server_clock: ServerClock,
    phase: Phase,
    state: ConnectionState,
    backoff: Backoff,
    chain: Chain,
    last_conn: ConnId,
    /// A token was asked for and has not come.
    fetching: bool,
    /// Who the store belongs to, from the first welcome on.
    principal: Option<String>,
    author: Bytes,
    /// The session of the first welcome, which every later one continues: to others it is one peer.
    first_session: Bytes,
    limits: Limits,
    channels: SortedMap<ChannelId, Box<Channel>>,
    names: SortedMap<ChannelName, ChannelId>,
    last_channel: u32,
    last_handle: u64,
    ended: Ended,
    attention: Attention,
    /// Something happened since pushes were sent last.
    pushes_due: bool,
    out: Outbound,
}

impl Session {
    /// `seed`: for jitter. Opens the outbox's store, which says what this client is called; nothing else
    /// happens before [`Self::connect`].
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Now) -> Self {
        let mut out = Outbound::new(config.codec);
        out.push(Output::Outbox(OutboxRequest::Open {
            principal: config.principal.clone(),
        }));
        Self {
            backoff: Backoff::new(config.retry_delay_base, config.retry_delay_max),
            chain: Chain::new(&config),
            config,
            store: None,
            store_again: Vec::new(),
            store_again_at: None,
            rng: Rng::with_seed(seed),
            now,
            server_clock: ServerClock::default(),
            phase: Phase::Idle,
            state: ConnectionState {
                phase: ConnectionPhase::Idle,
                transport: None,
                since: now.unix,
                reason: None,
            },
            last_conn: ConnId(0),
            fetching: false,
            principal: None,
            author: Bytes::new(),
            first_session: Bytes::new(),
            limits: Limits::DEFAULT,
            channels: SortedMap::default(),
            names: SortedMap::default(),
            last_channel: 0,
            last_handle: 0,
            ended: Ended::default(),
            attention: Attention::default(),
            pushes_due: false,
            out,
        }
    }

    /// Takes one fact about the world. Infallible: a misbehaving peer becomes `Close` and an event.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.observe(now);
        match input {
            Input::Opened { conn } => self.handle_opened(conn),
            Input::Received { conn, message } => self.handle_message(conn, message),
            Input::Event { conn, event } => self.handle_event(conn, event),
            Input::Response {
                conn,
                request,
                response,
            } => self.handle_response(conn, request, response),
            Input::Probed { probe, found } => self.handle_probed(probe, found),
            Input::SendFailed { conn, reason } => self.handle_send_failed(conn, reason),
            Input::Closed { conn, reason } => self.handle_closed(conn, reason),
            Input::Token(token) => self.handle_token(token),
            Input::Outbox(reply) => self.handle_outbox(reply),
            Input::Network(hint) => self.handle_hint(hint),
            Input::Timeout => self.handle_timeout(),
        }
        self.finish_turn();
    }

    /// The next thing to do, except for frames that may still share a message with what follows.
    ///
    /// For a driver that gets several commands in one turn of its event loop: after each command poll
    /// this until `None`, and at the end of the turn [`Self::poll_output`] until `Wait`. Then all frames
    /// of the turn go out in as few messages as the frame limit allows.
    pub fn poll_ready(&mut self) -> Option<Output> {
        self.out.poll_ready()
    }

    /// The next thing to do. Poll until `Wait`, after every input and every command or turn of commands.
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.poll_ready() {
            return output;
        }
        if std::mem::take(&mut self.pushes_due) {
            self.each_touched(|channel, turn| {
                channel.store_fresh(turn);
                channel.send_pushes(turn);
                channel.report_dirty(turn.out);
            });
        }
        if let Some(output) = self.out.poll(self.now.mono) {
            return output;
        }
        let channels = self.channel_deadline().into_iter();
        let others = self.link_deadline().into_iter().chain(self.store_again_at);
        Output::Wait(channels.chain(others).min())
    }

    const fn is_closed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closed {
                by_application: true
            }
        )
    }

    fn handle_timeout(&mut self) {
        self.retry_store();
        self.handle_link_timeout();
        let mut overdue = false;
        for id in self.due_channels() {
            self.with_channel(id, |channel, turn| {
                overdue |= channel.is_push_overdue(turn);
                channel.handle_timeout(turn);
            });
        }
        if overdue {
            self.probe();
        }
    }

    /// After every input and command: tell what changed, and close what was let go.
    fn finish_turn(&mut self) {
        self.finish_move();
        self.probe_network();
        self.each_touched(|channel, turn| channel.report_dirty(turn.out));
        self.pushes_due = true;
        for channel in self.take_done() {
            self.out
                .frame_on_all(ClientKind::Unsubscribe(Unsubscribe { channel }));
        }
    }
}
