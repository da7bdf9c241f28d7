//! The client's logical life with a server: routes inputs to parts and owns the output queue.
//!
//! `link.rs` holds the life of a connection; channels and mutations have rooms of their own.

mod contract;
mod input;
mod link;
pub(crate) mod outbound;
mod output;
mod phase;
mod renew;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

pub use input::{ConnId, Input, LinkClosed, NetworkHint, TokenError, TransportKind};
pub use output::{ConnectionPhase, ConnectionState, Event, Output, Reason, Recovery};

use self::outbound::Outbound;
use self::phase::Phase;
use crate::channel::name::ChannelName;
use crate::channel::unsent::is_oversized;
use crate::channel::{
    Channel, ChannelId, ChannelState, ChannelStatus, StreamCounts, Turn, Violation,
};
use crate::config::Config;
use crate::connect::{Backoff, ServerClock};
use crate::document::change::{changes_bytes, check_changes};
use crate::document::precondition::check_preconditions;
use crate::document::value::is_json;
use crate::document::{Document, Record, Rejection};
use crate::mutation::dirty::Dirty;
use crate::mutation::ended::Ended;
use crate::mutation::{
    CancelError, ClientId, Durability, Follow, MutateError, MutateOptions, MutationHandle,
    MutationId, MutationStatus, OutboxReply, Settlement,
};
use crate::sorted::SortedMap;
use crate::time::Now;
use crate::wire::{
    self, Change, ClientKind, Cursor, ErrorCode, ErrorFrame, Limits, Peer, Pong, Received,
    ServerKind, Unsubscribe,
};

/// One client's side of the protocol, as a pure state machine.
///
/// Driver loop, the same everywhere: drain [`Self::poll_output`] until [`Output::Wait`]; sleep until an
/// input, a command or that moment; feed exactly that; repeat. Two sessions with the same seed and the
/// same inputs give the same outputs.
#[derive(Debug)]
pub struct Session {
    config: Config,
    client: ClientId,
    rng: Rng,
    now: Now,
    server_clock: ServerClock,
    phase: Phase,
    state: ConnectionState,
    backoff: Backoff,
    last_conn: ConnId,
    token: String,
    /// A token was asked for and has not come.
    fetching: bool,
    /// Who the store belongs to, from the first welcome on.
    principal: Option<String>,
    author: Bytes,
    limits: Limits,
    channels: SortedMap<ChannelId, Box<Channel>>,
    names: SortedMap<ChannelName, ChannelId>,
    /// Where each undecided mutation lives.
    handles: SortedMap<MutationHandle, ChannelId>,
    last_channel: u32,
    last_handle: u64,
    ended: Ended,
    /// Something happened since pushes were sent last.
    pushes_due: bool,
    out: Outbound,
}

/// Why a channel was not subscribed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The session was closed.
    #[error("the client is closed")]
    Closed,
    /// The limit of channels is reached.
    #[error("{max} channels are open already: close one first")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// Why presence was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The channel was never subscribed or was let go.
    #[error("channel is not open: subscribe first")]
    NoSuchChannel,
    /// The data is over the limit.
    #[error("presence of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Not JSON.
    #[error("presence data is not JSON nested at most 64 deep")]
    NotJson,
}

impl Session {
    /// `client`: 128 random bits; `seed`: for jitter. Nothing happens before [`Self::connect`].
    #[must_use]
    pub fn new(config: Config, client: ClientId, seed: u64, now: Now) -> Self {
        let out = Outbound::new(config.codec);
        Self {
            backoff: Backoff::new(config.retry_delay_base, config.retry_delay_max),
            config,
            client,
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
            token: String::new(),
            fetching: false,
            principal: None,
            author: Bytes::new(),
            limits: Limits::DEFAULT,
            channels: SortedMap::default(),
            names: SortedMap::default(),
            handles: SortedMap::default(),
            last_channel: 0,
            last_handle: 0,
            ended: Ended::default(),
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
            self.each_channel(|channel, turn| channel.send_pushes(turn));
            self.report_changes();
        }
        if let Some(output) = self.out.poll() {
            return output;
        }
        let in_flight = self.channels.values().any(|channel| channel.is_pushing());
        let linked = matches!(self.phase, Phase::Connected(_));
        let (now, server_now) = (self.now.mono, self.server_clock.at_least(self.now));
        let channels = self
            .channels
            .values()
            .filter_map(|channel| channel.deadline(&self.config, now, server_now, linked));
        Output::Wait(channels.chain(self.phase.deadline(in_flight)).min())
    }

    /// Opens a channel; the same name gives the same id while it is open. A failed one is tried again.
    pub fn subscribe(&mut self, now: Now, name: ChannelName) -> Result<ChannelId, SubscribeError> {
        self.observe(now);
        if self.is_closed() {
            return Err(SubscribeError::Closed);
        }
        if let Some(&id) = self.names.get(&name) {
            self.with_channel(id, |channel, turn| channel.revive(turn));
            return Ok(id);
        }
        if self.channels.len() >= self.config.channels_max {
            return Err(SubscribeError::TooMany {
                max: self.config.channels_max,
            });
        }
        self.last_channel += 1;
        let id = ChannelId(self.last_channel);
        self.names.insert(name.clone(), id);
        let dirty = if self.config.follows_everything {
            Dirty::default()
        } else {
            Dirty::on_request()
        };
        let channel = Channel::new(id, name, dirty);
        self.channels.insert(id, Box::new(channel));
        if matches!(self.phase, Phase::Connected(_)) {
            self.with_channel(id, |channel, turn| channel.handle_connected(turn));
        }
        Ok(id)
    }

    /// Lets a channel go. Its pending mutations are still brought to their outcome; then it closes.
    pub fn unsubscribe(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.released = true;
            channel.presence_mut().set(None);
        }
        self.with_channel(channel, |channel, turn| {
            // What it has mutated is brought to its outcome, paused or not.
            if channel.queue.len() > 0 {
                channel.resume(turn);
            }
        });
        self.finish_turn();
    }

    /// Wants nothing from a channel for a while: the server is told, and presence ends. The view stays,
    /// and what is mutated meanwhile waits, shown as pending. Lasts over reconnects, until
    /// [`Self::resume`].
    pub fn pause(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        self.with_channel(channel, |channel, turn| channel.pause(turn));
    }

    /// Ends a pause: the channel comes back to the head, and what waits is pushed.
    pub fn resume(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        self.with_channel(channel, |channel, turn| channel.resume(turn));
    }

    /// Applies a mutation to the view at once and queues it. All of its changes, or none.
    ///
    /// Errors: what [`MutateError`] lists; then nothing was changed.
    pub fn mutate(
        &mut self,
        now: Now,
        channel: ChannelId,
        changes: Vec<Change>,
        options: MutateOptions,
    ) -> Result<MutationHandle, MutateError> {
        self.observe(now);
        if self.is_closed() {
            return Err(MutateError::Closed);
        }
        let open = self
            .channels
            .get(&channel)
            .filter(|channel| !channel.released)
            .ok_or(MutateError::NoSuchChannel)?;
        if let ChannelStatus::Failed { code, .. } = open.status {
            return Err(MutateError::ChannelFailed(code));
        }
        check_changes(&changes, &self.limits)?;
        check_preconditions(
            &options.preconditions,
            changes_bytes(&changes),
            &self.limits,
        )?;
        let encoded = self
            .config
            .codec
            .item_bytes(&changes, &options.preconditions);
        if is_oversized(encoded, &self.limits) {
            return Err(MutateError::Invalid(Rejection::new(
                ErrorCode::TooLarge,
                format!("mutation of {encoded} encoded bytes does not fit into one message"),
            )));
        }
        let rows: usize = self.channels.values().map(|c| c.queue.len()).sum();
        let bytes: usize = self.channels.values().map(|c| c.queue.bytes()).sum();
        if rows >= self.config.outbox_rows_max || bytes >= self.config.outbox_bytes_max {
            return Err(MutateError::QueueFull { rows });
        }
        if options.require_durable && self.durability() == Durability::Memory {
            return Err(MutateError::NotDurable);
        }
        let mut options = options;
        let mut failed = false;
        if let Some(after) = options.after {
            match self.dependency(channel, after)? {
                None => {}
                // Nothing to wait for, and the server need not know.
                Some(MutationStatus::Committed) => options.after = None,
                Some(_) => failed = true,
            }
        }
        self.last_handle += 1;
        let handle = MutationHandle(self.last_handle);
        self.handles.insert(handle, channel);
        self.with_channel(channel, |channel, turn| {
            channel.mutate(turn, handle, changes, options);
            if failed {
                channel.neutralise(turn, handle, MutationStatus::dep_failed());
            }
        });
        self.finish_turn();
        Ok(handle)
    }

    /// How the mutation that another one is to come after has ended; `None`: it has not.
    fn dependency(
        &self,
        channel: ChannelId,
        after: MutationHandle,
    ) -> Result<Option<MutationStatus>, MutateError> {
        if self.handles.get(&after).is_some_and(|&of| of != channel) {
            return Err(MutateError::UnknownDependency);
        }
        let open = self.channels.get(&channel);
        if open.is_some_and(|channel| channel.is_losing(after)) {
            return Ok(Some(MutationStatus::Lost));
        }
        let status = self.mutation_status(after);
        let status = status.ok_or(MutateError::UnknownDependency)?;
        Ok(status.is_terminal().then(|| status.clone()))
    }

    /// Takes a mutation back that was not sent yet: the view shows it no longer, and it ends as
    /// `cancelled`; what was to come after it ends as `dep_failed`.
    ///
    /// Errors: what [`CancelError`] lists; then nothing was changed.
    pub fn cancel(&mut self, now: Now, handle: MutationHandle) -> Result<(), CancelError> {
        self.observe(now);
        let Some(&channel) = self.handles.get(&handle) else {
            return Err(match self.ended.status(handle) {
                Some(_) => CancelError::Ended,
                None => CancelError::NoSuchMutation,
            });
        };
        let done = self.with_channel(channel, |channel, turn| channel.cancel(turn, handle));
        self.finish_turn();
        done.unwrap_or(Err(CancelError::NoSuchMutation))
    }

    /// What unsent mutations survive.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.config.durability
    }

    /// Where a mutation stands, also after its end: the newest 1,000 outcomes are remembered.
    #[must_use]
    pub fn mutation_status(&self, handle: MutationHandle) -> Option<&MutationStatus> {
        self.ended.status(handle).or_else(|| {
            let channel = self.channels.get(self.handles.get(&handle)?)?;
            Some(&channel.queue.row(handle)?.status)
        })
    }

    /// Says who one is; `None`: no longer present. `data` is JSON text.
    pub fn set_presence(
        &mut self,
        now: Now,
        channel: ChannelId,
        data: Option<Bytes>,
    ) -> Result<(), PresenceError> {
        self.observe(now);
        if let Some(data) = &data {
            let bytes_max = self.limits.presence_bytes as usize;
            if data.len() > bytes_max {
                return Err(PresenceError::TooLarge {
                    bytes: data.len(),
                    bytes_max,
                });
            }
            if !is_json(data) {
                return Err(PresenceError::NotJson);
            }
        }
        let found = self.with_channel(channel, |channel, turn| {
            channel.presence_mut().set(data);
            channel.send_ready(turn);
        });
        found.ok_or(PresenceError::NoSuchChannel)
    }

    /// A record as it looks with every pending mutation applied.
    #[must_use]
    pub fn record(&self, channel: ChannelId, collection: &str, id: &str) -> Option<&Record> {
        self.channels.get(&channel)?.view.record(collection, id)
    }

    /// Asks to hear of changes, for as long as the channel is open, where
    /// [`Config::follows_everything`] is off. What is followed already changes nothing.
    pub fn follow(&mut self, channel: ChannelId, what: Follow<'_>) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.dirty.follow(what);
        }
    }

    /// The ids of a collection's visible records, sorted.
    #[must_use]
    pub fn ids(&self, channel: ChannelId, collection: &str) -> Vec<Arc<str>> {
        self.channels
            .get(&channel)
            .map(|channel| channel.view.ids(collection))
            .unwrap_or_default()
    }

    /// The collections that have a visible record, sorted.
    #[must_use]
    pub fn collections(&self, channel: ChannelId) -> Vec<Arc<str>> {
        self.channels
            .get(&channel)
            .map(|channel| channel.view.collections())
            .unwrap_or_default()
    }

    /// A copy of the whole view. Costs as much as the document is large.
    #[must_use]
    pub fn document(&self, channel: ChannelId) -> Option<Document> {
        Some(self.channels.get(&channel)?.view.to_document())
    }

    /// Whether a mutation of this record waits for the server.
    #[must_use]
    pub fn is_pending(&self, channel: ChannelId, collection: &str, id: &str) -> bool {
        self.channels
            .get(&channel)
            .is_some_and(|channel| channel.view.is_pending(collection, id))
    }

    /// How many mutations of a channel have no stored outcome yet.
    #[must_use]
    pub fn pending(&self, channel: ChannelId) -> usize {
        self.channels
            .get(&channel)
            .map_or(0, |channel| channel.queue.undecided())
    }

    /// A channel's state.
    #[must_use]
    pub fn status(&self, channel: ChannelId) -> Option<&ChannelStatus> {
        Some(&self.channels.get(&channel)?.status)
    }

    /// Where a channel's subscription stands. For diagnosis; [`Self::status`] is what people see.
    #[must_use]
    pub fn state(&self, channel: ChannelId) -> Option<ChannelState> {
        Some(self.channels.get(&channel)?.state())
    }

    /// What a channel's stream has met since it was opened. For diagnosis.
    #[must_use]
    pub fn stream_counts(&self, channel: ChannelId) -> Option<StreamCounts> {
        Some(self.channels.get(&channel)?.counts())
    }

    /// How far the base of a channel has come.
    #[must_use]
    pub fn cursor(&self, channel: ChannelId) -> Option<Cursor> {
        self.channels.get(&channel)?.applied()
    }

    /// Who else is present, by peer number.
    #[must_use]
    pub fn peers(&self, channel: ChannelId) -> Vec<&Peer> {
        self.channels
            .get(&channel)
            .map(|channel| channel.peers().collect())
            .unwrap_or_default()
    }

    /// The connection's state.
    #[must_use]
    pub const fn connection(&self) -> &ConnectionState {
        &self.state
    }

    /// The client's id.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The id of an undecided mutation, once the store has the row. Later the events carry its number.
    #[must_use]
    pub fn mutation_id(&self, handle: MutationHandle) -> Option<MutationId> {
        let channel = self.channels.get(self.handles.get(&handle)?)?;
        Some(MutationId {
            client: self.client,
            channel: channel.name.clone(),
            n: channel.queue.row(handle)?.n?,
        })
    }

    /// Who the server says we are, once welcomed.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    const fn is_closed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closed {
                by_application: true
            }
        )
    }

    fn handle_message(&mut self, conn: ConnId, message: Bytes) {
        if self.phase.conn() != Some(conn) && !crate::planted!(OldLinkHeard) {
            return;
        }
        if let Phase::Connected(connected) = &mut self.phase {
            connected.liveness.on_frame(self.now.mono);
        }
        // What `hello` said, whatever the server says of itself.
        let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
        let message = self.config.codec.into_protobuf(message, bytes_max);
        let frames = match &message {
            Ok(message) => wire::read_in_place(message),
            Err(error) => return self.handle_violation(error.code()),
        };
        let frames = match frames {
            Ok(frames) => frames,
            Err(error) => return self.handle_violation(error.code()),
        };
        for frame in frames {
            let done = match frame {
                Received::Patch(patch) => contract::check_patch(&patch).and_then(|()| {
                    self.route(self.names.get(patch.channel).copied(), |channel, turn| {
                        channel.handle_patch(turn, &patch)
                    })
                }),
                Received::Part(part) => contract::check_part(&part).and_then(|()| {
                    self.route(self.names.get(part.channel).copied(), |channel, turn| {
                        channel.handle_part(turn, &part)
                    })
                }),
                Received::Frame(frame) => {
                    contract::check(&frame).and_then(|()| self.handle_frame(*frame))
                }
            };
            if let Err(code) = done {
                return self.handle_violation(code);
            }
            // A frame may have ended the link; what followed it is void.
            if self.phase.conn() != Some(conn) {
                return;
            }
        }
    }

    /// Gives a frame to the channel that it names. `None`: there is none, or it was let go while the frame
    /// was on its way.
    fn route(
        &mut self,
        channel: Option<ChannelId>,
        handle: impl FnOnce(&mut Channel, &mut Turn<'_>) -> Result<(), Violation>,
    ) -> Result<(), ErrorCode> {
        if !matches!(self.phase, Phase::Connected(_)) {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let done = channel.and_then(|id| self.with_channel(id, handle));
        done.unwrap_or(Ok(())).map_err(|violation| violation.0)
    }

    fn handle_frame(&mut self, frame: ServerKind) -> Result<(), ErrorCode> {
        match frame {
            ServerKind::Welcome(welcome) => return self.handle_welcome(welcome),
            ServerKind::Error(error) => {
                self.handle_error(error);
                return Ok(());
            }
            _ if !matches!(self.phase, Phase::Connected(_)) => {
                return Err(ErrorCode::UnexpectedFrame);
            }
            ServerKind::Heartbeat(heartbeat) => {
                self.server_clock.sample(heartbeat.server_ms, self.now.mono);
                self.out.frame(ClientKind::Pong(Pong {
                    t: heartbeat.server_ms,
                }));
                for head in heartbeat.heads {
                    if let (Some(&id), Some(cursor)) =
                        (self.names.get(head.channel.as_str()), head.cursor)
                    {
                        self.with_channel(id, |channel, turn| channel.handle_head(turn, cursor));
                    }
                }
                return Ok(());
            }
            ServerKind::Refreshed(refreshed) => {
                self.handle_refreshed(refreshed);
                return Ok(());
            }
            ServerKind::Goaway(goaway) => {
                self.handle_goaway(goaway);
                return Ok(());
            }
            _ => {}
        }
        let id = frame.channel().and_then(|name| self.names.get(name));
        self.route(id.copied(), |channel, turn| {
            channel.handle_frame(turn, frame)
        })
    }

    fn handle_error(&mut self, error: ErrorFrame) {
        // A number from a later version is still a refusal.
        let code = ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Refused);
        let detail = wire::cut_detail(error.detail);
        let retry_after = error
            .retry_ms
            .map(|ms| Duration::from_millis(u64::from(ms)));
        if error.fatal {
            return self.handle_refusal(code, detail, retry_after);
        }
        if error.channel.is_none() && error.id.is_none() {
            self.handle_refresh_error(code, retry_after);
        }
        let channel = error
            .channel
            .and_then(|name| self.names.get(name.as_str()).copied());
        match (channel, error.n) {
            (Some(id), Some(n)) => {
                self.with_channel(id, |channel, turn| {
                    channel.handle_row_error(turn, n, code, &detail);
                });
            }
            (Some(id), None) if code.ends_channel() => {
                self.with_channel(id, |channel, turn| channel.fail(turn, code, detail));
            }
            (channel, _) => {
                self.out.event(Event::Warning {
                    channel,
                    code,
                    detail,
                });
                if let Some(id) = channel.filter(|_| code == ErrorCode::Unsupported) {
                    self.with_channel(id, |channel, turn| channel.handle_fetch_refused(turn));
                }
            }
        }
    }

    fn handle_outbox(&mut self, reply: OutboxReply) {
        match reply {
            OutboxReply::Appended { handle, n } => {
                if let Some(&id) = self.handles.get(&handle) {
                    self.with_channel(id, |channel, turn| {
                        channel.handle_appended(turn, handle, n);
                    });
                }
            }
            OutboxReply::AppendFailed { handle, detail } => {
                if let Some(id) = self.handles.remove(&handle) {
                    let ended = self.with_channel(id, |channel, turn| {
                        channel.handle_append_failed(turn, handle, detail)
                    });
                    if let Some(status) = ended.flatten() {
                        self.ended.insert(handle, status);
                    }
                }
            }
            OutboxReply::Attempted { channel, rows } => {
                if let Some(&id) = self.names.get(channel.as_str()) {
                    self.with_channel(id, |channel, turn| channel.handle_attempted(turn, &rows));
                }
            }
            OutboxReply::Neutralised { channel, rows } => {
                self.remember(&rows);
                if let Some(&id) = self.names.get(channel.as_str()) {
                    self.with_channel(id, |channel, turn| channel.handle_neutralised(turn, rows));
                }
            }
            OutboxReply::Settled { channel, rows } => {
                self.remember(&rows);
                for row in &rows {
                    self.handles.remove(&row.handle);
                }
                if let Some(&id) = self.names.get(channel.as_str()) {
                    self.with_channel(id, |channel, turn| channel.handle_settled(turn, rows));
                }
            }
        }
    }

    /// Keeps outcomes that the store has, for whoever asks late.
    fn remember(&mut self, rows: &[Settlement]) {
        for row in rows {
            self.ended.insert(row.handle, row.status.clone());
        }
    }

    fn handle_timeout(&mut self) {
        self.handle_link_timeout();
        let mut overdue = false;
        self.each_channel(|channel, turn| {
            overdue |= channel.is_push_overdue(turn);
            channel.handle_timeout(turn);
        });
        if overdue {
            self.probe();
        }
    }

    /// After every input and command: tell what changed, and close what was let go.
    fn finish_turn(&mut self) {
        self.report_changes();
        self.pushes_due = true;
        let done: Vec<ChannelId> = self
            .channels
            .values()
            .filter(|channel| channel.is_done())
            .map(|channel| channel.id)
            .collect();
        for id in done {
            if let Some(channel) = self.channels.remove(&id) {
                self.names.remove(&channel.name);
                if matches!(self.phase, Phase::Connected(_)) {
                    self.out.frame(ClientKind::Unsubscribe(Unsubscribe {
                        channel: channel.name.to_string(),
                    }));
                }
            }
        }
    }

    fn report_changes(&mut self) {
        for channel in self.channels.values_mut() {
            channel.report_dirty(&mut self.out);
        }
    }

    fn with_channel<T>(
        &mut self,
        id: ChannelId,
        act: impl FnOnce(&mut Channel, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let channel = self.channels.get_mut(&id)?;
        let mut turn = Turn {
            now: self.now.mono,
            server_now: self.server_clock.now(self.now),
            server_now_min: self.server_clock.at_least(self.now),
            config: &self.config,
            limits: self.limits,
            author: &self.author,
            linked: matches!(self.phase, Phase::Connected(_)),
            pushing: matches!(&self.phase, Phase::Connected(c) if c.leave.is_none()),
            rng: &mut self.rng,
            out: &mut self.out,
        };
        Some(act(channel, &mut turn))
    }

    fn each_channel(&mut self, mut act: impl FnMut(&mut Channel, &mut Turn<'_>)) {
        let ids: Vec<ChannelId> = self.channels.keys().copied().collect();
        for id in ids {
            self.with_channel(id, &mut act);
        }
    }
}
