//! A client process: a real `Session`, its driver loop, its outbox's store, and its watches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{CloseCode, ErrorCode};
use tidewire_core::{
    ChannelId, ChannelStatus, ClientId, Config, ConnId, ConnectionPhase, Event, Input,
    MemoryOutbox, MutateError, MutateOptions, OutboxReply, OutboxRequest, Output, Session,
};
use tidewire_core::{ChannelName, Settlement};
use tidewire_server::channel::Author;

use crate::app::{Act, Draft};
use crate::link::LinkId;
use crate::node::{UNIX_START_MS, author_of};
use crate::shape::Shape;
use crate::truth::{FactId, Truth};
use crate::violation::{Checked, Violation, ensure};
use crate::watch::Watch;
use crate::words::live::Asked;
use crate::words::told::Told;

/// More outputs than this within one simulated second is spinning (L4). A burst of 400 mutations is
/// told several times per mutation.
const OUTPUTS_PER_SECOND_MAX: u64 = 4_000;

/// More messages than this within one simulated second is spinning (L4).
const MESSAGES_PER_SECOND_MAX: u64 = 600;

/// More attempts to connect than this within so much time are spinning (L4), whatever hints come.
const OPENS_MAX: usize = 20;
const OPENS_PERIOD_MS: u64 = 10_000;

/// A move that lasts longer waits for something that nobody owes it.
const MOVE_MS_MAX: u64 = 11_000;

/// What a client wants from the world.
#[derive(Debug)]
pub enum Wish {
    /// Open a link; the first message goes with it.
    Open(ConnId, Bytes),
    /// Send on a link.
    Send(ConnId, Bytes),
    /// Close a link.
    Close(ConnId, CloseCode),
    /// Ask the application for a token.
    Token,
    /// Ask the store; it answers in order.
    Store(OutboxRequest),
    /// Wake up at this moment of the client's monotonic clock.
    Wake(MonoTime),
    /// A channel has failed: the application will try it again.
    Retry(usize),
    /// The next link has taken over while the one before lived.
    Moved,
    /// Something worth a line in the timeline.
    Note(Event),
}

/// One client.
pub struct Client {
    /// Who it is to the server.
    pub principal: String,
    /// Counts crashes; what was meant for an older life is dropped.
    pub life: u64,
    /// How far its wall clock is off.
    pub clock_ms: i64,
    /// Stopped until then: inputs wait.
    pub frozen_until_ms: u64,
    /// What waits while it is stopped.
    pub inbox: VecDeque<Input>,
    /// The links of this life.
    pub links: BTreeMap<ConnId, LinkId>,
    /// When the store's last answer comes: answers keep their order.
    pub store_busy_until_ms: u64,
    /// How many mutations the application made, in all lives.
    pub mutations: u64,
    /// What the application was told, if a test wants to know.
    pub told: Option<Vec<Event>>,
    names: Arc<[ChannelName]>,
    store_is_inline: bool,
    links_keep_order: bool,
    running: Option<Running>,
}

/// What dies with the process.
struct Running {
    session: Session,
    author: Author,
    store: MemoryOutbox,
    started_ms: u64,
    /// When the session wants to be woken.
    wake_at: Option<MonoTime>,
    watches: BTreeMap<ChannelId, Watch>,
    /// A token was asked for and has not come.
    wants_token: bool,
    second: u64,
    outputs: u64,
    messages: u64,
    /// When links were asked for lately.
    opened: VecDeque<u64>,
    asked: Asked,
    told: Told,
    links_keep_order: bool,
    /// The links that were welcomed after the last turn.
    links: Vec<ConnId>,
    /// A move that is under way: to which link, and since when channels ask there.
    moving: Option<(ConnId, u64)>,
}

impl Client {
    /// A client that does not run yet.
    #[must_use]
    pub const fn new(principal: String, names: Arc<[ChannelName]>, shape: &Shape) -> Self {
        Self {
            principal,
            life: 0,
            clock_ms: 0,
            frozen_until_ms: 0,
            inbox: VecDeque::new(),
            links: BTreeMap::new(),
            store_busy_until_ms: 0,
            mutations: 0,
            told: None,
            names,
            store_is_inline: shape.store_ms.is_none(),
            links_keep_order: shape.links_keep_order,
            running: None,
        }
    }

    /// Whether the process runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it handles inputs now.
    #[must_use]
    pub const fn is_awake(&self, now_ms: u64) -> bool {
        self.running.is_some() && now_ms >= self.frozen_until_ms
    }

    /// The process dies, and its store with it.
    pub fn crash(&mut self) {
        self.running = None;
        self.life += 1;
        self.inbox.clear();
        self.links.clear();
        self.frozen_until_ms = 0;
        self.store_busy_until_ms = 0;
    }

    /// The process starts with an empty store.
    pub fn start(
        &mut self,
        now_ms: u64,
        id: ClientId,
        seed: u64,
        config: Config,
        truth: &mut Truth,
    ) -> Checked<Vec<Wish>> {
        let now = self.clock(now_ms, now_ms);
        let mut session = Session::new(config, id, seed, now);
        session.connect(now);
        self.running = Some(Running {
            session,
            author: author_of(&self.principal, &id.0),
            store: MemoryOutbox::default(),
            started_ms: now_ms,
            wake_at: None,
            watches: BTreeMap::new(),
            wants_token: false,
            second: 0,
            outputs: 0,
            messages: 0,
            opened: VecDeque::new(),
            asked: Asked::default(),
            told: Told::default(),
            links_keep_order: self.links_keep_order,
            links: Vec::new(),
            moving: None,
        });
        self.drive(now_ms, truth)
    }

    /// The session, while the process runs.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.running.as_ref().map(|r| &r.session)
    }

    /// Whose mutations this life's are.
    #[must_use]
    pub fn author(&self) -> Option<Author> {
        self.running.as_ref().map(|r| r.author)
    }

    /// The watches of this life.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.running.iter().flat_map(|r| r.watches.values())
    }

    /// The watch of a channel that is subscribed.
    #[must_use]
    pub fn watch(&self, channel: usize) -> Option<&Watch> {
        self.watches()
            .find(|w| w.channel == channel && !w.is_released)
    }

    /// From now on, a `forbidden` on this channel is no surprise.
    pub fn deny(&mut self, channel: usize) {
        for watch in self.running.iter_mut().flat_map(|r| r.watches.values_mut()) {
            if watch.channel == channel {
                watch.was_denied = true;
            }
        }
    }

    /// A node has received a `subscribe` of this client, while a log ended there.
    pub fn on_subscribe_received(&mut self, conn: ConnId, channel: usize, head: Option<FactId>) {
        if let Some(running) = &mut self.running {
            running.asked.on_received(conn, channel, head);
        }
    }

    /// When a moment of the client's monotonic clock comes in world time.
    #[must_use]
    pub fn world_ms(&self, at: MonoTime) -> u64 {
        let started = self.running.as_ref().map_or(0, |r| r.started_ms);
        at.0.saturating_add(started).saturating_sub(11)
    }

    /// Feeds one input and drains the outputs.
    pub fn handle(&mut self, now_ms: u64, input: Input, truth: &mut Truth) -> Checked<Vec<Wish>> {
        let now = self.now(now_ms);
        let Some(running) = &mut self.running else {
            return Ok(Vec::new());
        };
        if let Input::Received { conn, message } = &input {
            let index = |name: &str| self.names.iter().position(|known| known.as_str() == name);
            running.asked.on_message(*conn, message, index);
            running.told.on_message(*conn, message);
        }
        if let Input::Closed { conn, .. } = &input {
            running.told.on_closed(*conn);
        }
        running.feed(now, input, truth)?;
        self.drive(now_ms, truth)
    }

    /// A timer fired: the session is woken if it still wants to be by now.
    pub fn timeout(&mut self, now_ms: u64, truth: &mut Truth) -> Checked<Vec<Wish>> {
        let now = self.now(now_ms).mono;
        if let Some(running) = &mut self.running
            && running.wake_at.is_some_and(|at| at <= now)
        {
            running.wake_at = None;
            let wishes = self.handle(now_ms, Input::Timeout, truth)?;
            let moving = self.running.as_ref().and_then(|r| r.moving);
            let lasts_ms = moving.map_or(0, |(_, since_ms)| now_ms - since_ms);
            ensure(lasts_ms <= MOVE_MS_MAX, "move", || {
                format!("{moving:?} has lasted for {lasts_ms} ms")
            })?;
            return Ok(wishes);
        }
        Ok(Vec::new())
    }

    /// The application acts. `denied`: its principal was denied to write to that channel before.
    pub fn act(
        &mut self,
        now_ms: u64,
        act: Act,
        denied: bool,
        rng: &mut fastrand::Rng,
        truth: &mut Truth,
    ) -> Checked<Vec<Wish>> {
        let now = self.now(now_ms);
        match act {
            Act::Mutate(channel, draft) => self.mutate(now, channel, draft)?,
            Act::Cancel(channel, back) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                    && let Some(handle) = watch.handle_back(back)
                {
                    let id = watch.id;
                    let done = running.session.cancel(now, handle);
                    if let Some(watch) = running.watches.get_mut(&id) {
                        watch.on_cancel(handle, done)?;
                    }
                }
            }
            Act::Pause(channel) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                {
                    watch.is_paused = true;
                    let id = watch.id;
                    running.session.pause(now, id);
                }
            }
            Act::Resume(channel) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                {
                    watch.is_paused = false;
                    let id = watch.id;
                    running.session.resume(now, id);
                }
            }
            Act::Burst(channel, count) => {
                for _ in 0..count {
                    let name = format!("burst{}", self.mutations);
                    let changes = crate::app::draw_changes(rng, &name);
                    self.mutate(now, channel, changes.into())?;
                }
            }
            Act::Presence(channel, data) => {
                if let Some(running) = &mut self.running
                    && let Some(watch) = running.of(channel)
                {
                    let id = watch.id;
                    // The core says the same data only once in a stream.
                    watch.was_hidden &= watch.presence == data;
                    watch.presence.clone_from(&data);
                    let set = running.session.set_presence(now, id, data);
                    ensure(set.is_ok(), "seam", || {
                        format!("presence was refused: {set:?}")
                    })?;
                }
            }
            Act::Subscribe(channel) => self.subscribe(now, channel, denied)?,
            Act::Unsubscribe(channel) => {
                if let Some(running) = &mut self.running
                    && running.watches.values().filter(|w| !w.is_released).count() > 1
                    && let Some(watch) = running.of(channel)
                {
                    watch.is_released = true;
                    watch.is_paused = false;
                    watch.presence = None;
                    let id = watch.id;
                    running.session.unsubscribe(now, id);
                }
            }
        }
        self.drive(now_ms, truth)
    }

    fn subscribe(&mut self, now: Now, channel: usize, denied: bool) -> Checked {
        let name = self.names[channel].clone();
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let id = running
            .session
            .subscribe(now, name)
            .map_err(|e| Violation::new("seam", format!("subscribe: {e}")))?;
        let author = running.author;
        let watch = running
            .watches
            .entry(id)
            .or_insert_with(|| Watch::new(id, channel, author));
        watch.is_released = false;
        watch.was_denied |= denied;
        Ok(())
    }

    fn mutate(&mut self, now: Now, channel: usize, draft: Draft) -> Checked {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let Some(watch) = running.watch_of(channel) else {
            return Ok(());
        };
        let id = watch.id;
        let options = MutateOptions {
            ttl: draft.ttl_ms.map(Duration::from_millis),
            after: watch.handle_back(0).filter(|_| draft.follows),
            coalesce_key: draft.key.map(|key| format!("k{key}").into()),
            preconditions: draft
                .demands
                .iter()
                .map(|demand| watch.precondition(&running.session, demand))
                .collect(),
            ..MutateOptions::default()
        };
        let changes = draft.changes;
        match running
            .session
            .mutate(now, id, changes.clone(), options.clone())
        {
            Ok(handle) => {
                self.mutations += 1;
                if let Some(watch) = running.of(channel) {
                    watch.on_mutate(handle, changes.into(), options);
                }
                Ok(())
            }
            Err(
                MutateError::QueueFull { .. }
                | MutateError::ChannelFailed(_)
                | MutateError::UnknownDependency,
            ) => Ok(()),
            Err(other) => Err(Violation::new(
                "seam",
                format!("{changes:?} was refused: {other}"),
            )),
        }
    }

    /// What the store does with a request. `fails`: it cannot write.
    pub fn store(
        &mut self,
        request: OutboxRequest,
        fails: bool,
        truth: &mut Truth,
    ) -> Checked<Option<OutboxReply>> {
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        running
            .ask_store(&self.names, request, fails, truth)
            .map(Some)
    }

    fn drive(&mut self, now_ms: u64, truth: &mut Truth) -> Checked<Vec<Wish>> {
        let now = self.now(now_ms);
        let mut wishes = Vec::new();
        let Some(running) = &mut self.running else {
            return Ok(wishes);
        };
        if running.second != now_ms / 1000 {
            running.second = now_ms / 1000;
            running.outputs = 0;
            running.messages = 0;
        }
        loop {
            running.outputs += 1;
            ensure(running.outputs < OUTPUTS_PER_SECOND_MAX, "L4", || {
                let last = &wishes[wishes.len().saturating_sub(6)..];
                format!("{OUTPUTS_PER_SECOND_MAX} outputs within a second, the last ones {last:?}")
            })?;
            match running.session.poll_output() {
                Output::Open { conn, first, .. } => {
                    running.opened.retain(|at| at + OPENS_PERIOD_MS > now_ms);
                    running.opened.push_back(now_ms);
                    ensure(running.opened.len() <= OPENS_MAX, "L4", || {
                        format!("{OPENS_MAX} attempts to connect within {OPENS_PERIOD_MS} ms")
                    })?;
                    wishes.push(Wish::Open(conn, first));
                }
                Output::Send { conn, message } => {
                    running.messages += 1;
                    ensure(running.messages < MESSAGES_PER_SECOND_MAX, "L4", || {
                        format!("{MESSAGES_PER_SECOND_MAX} messages within a second")
                    })?;
                    wishes.push(Wish::Send(conn, message));
                }
                Output::Close { conn, code } => {
                    running.told.on_closed(conn);
                    wishes.push(Wish::Close(conn, code));
                }
                Output::FetchToken => {
                    let already = std::mem::replace(&mut running.wants_token, true);
                    ensure(!already, "F10", || {
                        "a token is asked for twice at a time".into()
                    })?;
                    wishes.push(Wish::Token);
                }
                Output::Outbox(request) => {
                    running.on_request(&request, truth)?;
                    if self.store_is_inline {
                        let reply = running.ask_store(&self.names, request, false, truth)?;
                        running.feed(now, Input::Outbox(reply), truth)?;
                    } else {
                        wishes.push(Wish::Store(request));
                    }
                }
                Output::Event(event) => {
                    running.on_event(&self.names, &event, truth)?;
                    running.told.on_event(&event)?;
                    if let Event::Channel {
                        channel,
                        status: ChannelStatus::Failed { .. },
                        ..
                    } = &event
                        && let Some(watch) = running.watches.get(channel)
                    {
                        wishes.push(Wish::Retry(watch.channel));
                    }
                    if let Some(told) = &mut self.told {
                        told.push(event.clone());
                    }
                    wishes.push(Wish::Note(event));
                }
                Output::Wait(at) => {
                    if running.wake_at != at
                        && let Some(at) = at
                    {
                        wishes.push(Wish::Wake(at));
                    }
                    running.wake_at = at;
                    break;
                }
            }
        }
        let links = running.session.welcomed_links();
        if running
            .links
            .get(1)
            .is_some_and(|next| links.first() == Some(next))
        {
            wishes.push(Wish::Moved);
        }
        running.moving = match (links.get(1), running.moving) {
            (Some(&next), Some((conn, since_ms))) if next == conn => Some((conn, since_ms)),
            (next, _) => next.map(|&next| (next, now_ms)),
        };
        running.links = links;
        for watch in running.watches.values_mut() {
            watch.check(&running.session, truth)?;
            if running.session.status(watch.id) == Some(&ChannelStatus::Live) {
                let (asked, in_order) = (&running.asked, running.links_keep_order);
                let conn = running.session.stream_link(watch.id);
                asked.check(conn, watch.channel, watch.base(), in_order, truth)?;
            }
            running
                .told
                .check(&running.session, watch.id, watch.open_rows())?;
            watch.check_pace(now_ms, &running.session)?;
        }
        running.told.check_connection(&running.session)?;
        Ok(wishes)
    }

    fn now(&self, now_ms: u64) -> Now {
        self.clock(
            now_ms,
            self.running.as_ref().map_or(now_ms, |r| r.started_ms),
        )
    }

    const fn clock(&self, now_ms: u64, started_ms: u64) -> Now {
        Now {
            mono: MonoTime(11 + now_ms - started_ms),
            unix: UnixTime((UNIX_START_MS + now_ms).saturating_add_signed(self.clock_ms)),
        }
    }
}

impl Running {
    fn watch_of(&self, channel: usize) -> Option<&Watch> {
        self.watches
            .values()
            .find(|w| w.channel == channel && !w.is_released)
    }

    fn of(&mut self, channel: usize) -> Option<&mut Watch> {
        self.watches
            .values_mut()
            .find(|w| w.channel == channel && !w.is_released)
    }

    /// What a store's answer means is known before the core sees it.
    fn feed(&mut self, now: Now, input: Input, truth: &mut Truth) -> Checked {
        match &input {
            Input::Outbox(OutboxReply::AppendFailed { handle, .. }) => {
                for watch in self.watches.values_mut() {
                    if watch.has(*handle) {
                        watch.on_refused(*handle)?;
                    }
                }
            }
            Input::Outbox(OutboxReply::Appended { handle, n }) => {
                for watch in self.watches.values_mut() {
                    if watch.has(*handle) {
                        watch.on_numbered(*handle, *n)?;
                    }
                }
            }
            Input::Outbox(OutboxReply::Attempted { rows, .. }) => {
                for attempt in rows {
                    if let Some(watch) = self.watches.values().find(|w| w.has(attempt.handle)) {
                        truth.marked(watch.channel, self.author, attempt)?;
                    }
                }
            }
            Input::Token(_) => self.wants_token = false,
            Input::Outbox(
                OutboxReply::Settled { rows, .. } | OutboxReply::Neutralised { rows, .. },
            ) => {
                for watch in self.watches.values_mut() {
                    let own: Vec<Settlement> = rows
                        .iter()
                        .filter(|r| watch.has(r.handle))
                        .cloned()
                        .collect();
                    watch.on_settled(&own)?;
                }
            }
            Input::Received { .. } => self.watches.values_mut().for_each(Watch::on_message),
            _ => {}
        }
        let current = self.session.welcomed_links().first().copied();
        let ended = match input {
            Input::Closed { conn, .. } | Input::SendFailed { conn, .. } => Some(conn),
            _ => None,
        };
        self.session.handle_input(now, input);
        if ended.is_some() && current.is_some() && ended != current {
            let now = self.session.welcomed_links().first().copied();
            ensure(now == current, "move", || {
                format!("{ended:?} ended, and with it {current:?}: now {now:?}")
            })?;
        }
        Ok(())
    }

    fn on_request(&mut self, request: &OutboxRequest, truth: &Truth) -> Checked {
        if let OutboxRequest::Attempt { rows, .. } = request {
            for watch in self.watches.values_mut() {
                watch.on_attempt(rows);
            }
        }
        if let OutboxRequest::Neutralise { rows, .. } = request {
            for watch in self.watches.values_mut() {
                watch.on_neutralise(rows)?;
            }
        }
        if let OutboxRequest::Settle { rows, .. } = request {
            for watch in self.watches.values_mut() {
                let own: Vec<Settlement> = rows
                    .iter()
                    .filter(|r| watch.has(r.handle))
                    .cloned()
                    .collect();
                let cursor = self.session.cursor(watch.id);
                watch.on_settle(&own, cursor, truth)?;
            }
        }
        Ok(())
    }

    fn ask_store(
        &mut self,
        names: &[ChannelName],
        request: OutboxRequest,
        fails: bool,
        truth: &mut Truth,
    ) -> Checked<OutboxReply> {
        if let OutboxRequest::Neutralise { channel, rows } = &request {
            let at = index(names, channel)?;
            for row in rows {
                truth.neutralised(at, self.author, row.n)?;
            }
        }
        let OutboxRequest::Append {
            channel,
            handle,
            changes,
            options,
            ..
        } = &request
        else {
            return Ok(self.store.handle(request));
        };
        if fails {
            return Ok(OutboxReply::AppendFailed {
                handle: *handle,
                detail: "injected".into(),
            });
        }
        let at = index(names, channel)?;
        let content = (*handle, Arc::clone(changes), Arc::clone(options));
        let reply = self.store.handle(request);
        if let OutboxReply::Appended { n, .. } = reply {
            truth.asked(at, self.author, n, content)?;
        }
        Ok(reply)
    }

    fn on_event(&mut self, names: &[ChannelName], event: &Event, truth: &Truth) -> Checked {
        match event {
            Event::Connection(state) => {
                ensure(state.phase != ConnectionPhase::Closed, "L1", || {
                    format!("the session gave up: {state:?}")
                })
            }
            Event::Mutation {
                channel,
                handle,
                n,
                status,
            } => self.watch(*channel)?.on_status(*handle, *n, status, truth),
            Event::Changed { channel, records } => {
                let session = &self.session;
                if let Some(watch) = self.watches.get_mut(channel) {
                    watch.on_changed(session, records);
                }
                Ok(())
            }
            Event::HistoryLost { channel, from, to } => {
                self.watch(*channel)?.on_history_lost(*from, *to);
                Ok(())
            }
            Event::Warning {
                code: ErrorCode::Forbidden,
                detail,
                ..
            } => {
                // What goes on beside a subscription is refused with the channel's name in the text.
                for watch in self.watches.values_mut() {
                    let name = names[watch.channel].as_str();
                    watch.was_hidden |= detail
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with(": "));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn watch(&mut self, channel: ChannelId) -> Checked<&mut Watch> {
        self.watches
            .get_mut(&channel)
            .ok_or_else(|| Violation::new("seam", format!("event of unknown {channel:?}")))
    }
}

fn index(names: &[ChannelName], channel: &ChannelName) -> Checked<usize> {
    names
        .iter()
        .position(|name| name == channel)
        .ok_or_else(|| Violation::new("seam", format!("unknown channel {channel}")))
}
