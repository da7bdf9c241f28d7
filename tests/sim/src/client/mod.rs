//! A client process: a real `Session`, its driver loop, and its watches. Its outbox's store outlives it.

mod act;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{CloseCode, ErrorCode};
use tidewire_core::{
    ChannelId, ChannelName, ChannelStatus, Config, ConnId, ConnectionPhase, Door, Event, Input,
    OutboxReply, OutboxRequest, Output, RequestId, Session, TransportKind,
};
use tidewire_server::channel::Author;

pub use self::store::{Store, index};
use crate::http::carried;
use crate::link::LinkId;
use crate::node::UNIX_START_MS;
use crate::shape::Shape;
use crate::truth::{FactId, Truth};
use crate::violation::{Checked, Violation, ensure};
use crate::watch::Watch;
use crate::words::live::Asked;
use crate::words::told::Told;
use crate::words::verdicts::Verdicts;

/// More outputs than this within one simulated second is spinning (L4). Bursts of 400 mutations, of all tabs of a
/// store, are told several times per mutation.
const OUTPUTS_PER_SECOND_MAX: u64 = 8_000;

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
    /// Make a request.
    Request(ConnId, RequestId, Door, Bytes),
    /// Give one up.
    Abort(ConnId, RequestId),
    /// Find out who answers in the network.
    Probe(u64),
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
    /// And it is a better one.
    Climbed,
    /// A next link is there, and channels ask on it.
    Asks,
    /// Something worth a line in the timeline.
    Note(Event),
}

/// One client.
pub struct Client {
    /// Who it is to the server.
    pub principal: String,
    /// Where its outbox is.
    pub store: usize,
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
    /// When the store gets to the last request, and when its last answer comes: both keep their order.
    pub store_busy_until_ms: (u64, u64),
    /// What other sessions on the store should hear of: channel and numbers.
    pub hints: Vec<(usize, Vec<u64>)>,
    /// How many mutations the application made, in all lives.
    pub mutations: u64,
    /// What the application was told, if a test wants to know.
    pub told: Option<Vec<Event>>,
    names: Arc<[ChannelName]>,
    store_is_inline: bool,
    links_keep_order: bool,
    opens_max: usize,
    running: Option<Running>,
}

/// What dies with the process.
struct Running {
    session: Session,
    author: Author,
    store: usize,
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
    verdicts: Verdicts,
    links_keep_order: bool,
    /// The links that were welcomed after the last turn.
    links: Vec<ConnId>,
    /// A move that is under way: to which link, and since when channels ask there.
    moving: Option<(ConnId, u64)>,
    /// Links that were opened and not closed.
    open: BTreeSet<ConnId>,
    /// Links over HTTP.
    over_http: BTreeSet<ConnId>,
    /// POSTs that were not answered, and on which link.
    posts: BTreeMap<RequestId, ConnId>,
}

impl Client {
    /// A client that does not run yet.
    #[must_use]
    pub const fn new(
        principal: String,
        store: usize,
        names: Arc<[ChannelName]>,
        shape: &Shape,
    ) -> Self {
        Self {
            principal,
            store,
            life: 0,
            clock_ms: 0,
            frozen_until_ms: 0,
            inbox: VecDeque::new(),
            links: BTreeMap::new(),
            store_busy_until_ms: (0, 0),
            hints: Vec::new(),
            mutations: 0,
            told: None,
            names,
            store_is_inline: shape.store_ms.is_none(),
            links_keep_order: shape.links_keep_order,
            opens_max: OPENS_MAX * shape.transports.len(),
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

    /// The process dies; its store stays.
    pub fn crash(&mut self) {
        self.running = None;
        self.life += 1;
        self.inbox.clear();
        self.links.clear();
        self.frozen_until_ms = 0;
        self.store_busy_until_ms = (0, 0);
    }

    /// The process starts with the store as it was left.
    pub fn start(
        &mut self,
        now_ms: u64,
        seed: u64,
        config: Config,
        truth: &mut Truth,
    ) -> Checked<Vec<Wish>> {
        let now = self.clock(now_ms, now_ms);
        let mut session = Session::new(config, seed, now);
        session.connect(now);
        self.running = Some(Running {
            session,
            author: truth.stores[self.store].author,
            store: self.store,
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
            verdicts: Verdicts::default(),
            links_keep_order: self.links_keep_order,
            links: Vec::new(),
            moving: None,
            open: BTreeSet::new(),
            over_http: BTreeSet::new(),
            posts: BTreeMap::new(),
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
        if let Some((conn, message)) = carried(&input)? {
            let index = |name: &str| self.names.iter().position(|known| known.as_str() == name);
            running.asked.on_message(conn, &message, index);
            running.told.on_message(conn, &message);
        }
        running.verdicts.on_input(&input);
        if let Input::Response { request, .. } = &input {
            running.posts.remove(request);
        }
        if let Input::Closed { conn, .. } = &input {
            running.told.on_closed(*conn);
            running.open.remove(conn);
        }
        running.feed(now, &self.names, input, truth)?;
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

    /// What the store does with a request, unless the process that asked is gone. `fails`: it cannot.
    pub fn store(
        &mut self,
        request: OutboxRequest,
        fails: bool,
        truth: &mut Truth,
    ) -> Checked<Option<OutboxReply>> {
        let Some(running) = &self.running else {
            return Ok(None);
        };
        if fails && !matches!(request, OutboxRequest::Open { .. }) {
            return Ok(Some(OutboxReply::Failed {
                request: Box::new(request),
                detail: "injected".into(),
            }));
        }
        running
            .ask_store(&self.names, request, &mut self.hints, truth)
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
                Output::Open { conn, first } => {
                    running.on_open(conn, now_ms, self.opens_max)?;
                    running.verdicts.on_attempt(conn, TransportKind::WebSocket);
                    wishes.push(Wish::Open(conn, first));
                }
                Output::Request {
                    conn,
                    request,
                    door,
                    body,
                    last,
                } => {
                    running.messages += 1;
                    ensure(running.messages < MESSAGES_PER_SECOND_MAX, "L4", || {
                        format!("{MESSAGES_PER_SECOND_MAX} messages within a second")
                    })?;
                    if !last && running.over_http.insert(conn) {
                        running.on_open(conn, now_ms, self.opens_max)?;
                        let kind = match door {
                            Door::Stream => TransportKind::Sse,
                            _ => TransportKind::LongPoll,
                        };
                        running.verdicts.on_attempt(conn, kind);
                    }
                    if door == Door::Push && !last {
                        let of_link = running.posts.values().filter(|of| **of == conn).count();
                        ensure(of_link == 0, "posts", || {
                            format!("a POST of {conn:?} is made while another one is under way")
                        })?;
                        running.posts.insert(request, conn);
                    }
                    wishes.push(Wish::Request(conn, request, door, body));
                }
                Output::Abort { conn, request } => {
                    running.posts.remove(&request);
                    wishes.push(Wish::Abort(conn, request));
                }
                Output::Probe { probe } => wishes.push(Wish::Probe(probe)),
                Output::Send { conn, message } => {
                    running.messages += 1;
                    ensure(running.messages < MESSAGES_PER_SECOND_MAX, "L4", || {
                        format!("{MESSAGES_PER_SECOND_MAX} messages within a second")
                    })?;
                    wishes.push(Wish::Send(conn, message));
                }
                Output::Close { conn, code } => {
                    running.told.on_closed(conn);
                    running.open.remove(&conn);
                    running.posts.retain(|_, of| *of != conn);
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
                    running.on_request(&self.names, &request, truth)?;
                    if self.store_is_inline {
                        let reply =
                            running.ask_store(&self.names, request, &mut self.hints, truth)?;
                        running.feed(now, &self.names, Input::Outbox(reply), truth)?;
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
            let over_http =
                |at: Option<&ConnId>| at.is_some_and(|at| running.over_http.contains(at));
            if over_http(running.links.first()) && !over_http(links.first()) {
                wishes.push(Wish::Climbed);
            }
        }
        if links.len() > 1 && links.get(1) != running.links.get(1) {
            wishes.push(Wish::Asks);
        }
        running.moving = match (links.get(1), running.moving) {
            (Some(&next), Some((conn, since_ms))) if next == conn => Some((conn, since_ms)),
            (next, _) => next.map(|&next| (next, now_ms)),
        };
        running.links = links;
        for watch in running.watches.values_mut() {
            watch.check(&running.session, truth)?;
            if running.session.status(watch.id) == Some(&ChannelStatus::Live) {
                let conn = running.session.stream_link(watch.id);
                // A POST that is late, or made again, is no order.
                let is_socket = conn.is_some_and(|conn| !running.over_http.contains(&conn));
                let (asked, in_order) = (&running.asked, running.links_keep_order && is_socket);
                asked.check(conn, watch.channel, watch.base(), in_order, truth)?;
            }
            running
                .told
                .check(&running.session, watch.id, watch.open_rows())?;
            watch.check_pace(now_ms, &running.session)?;
        }
        running.told.check_connection(&running.session)?;
        running.verdicts.check(&running.session)?;
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
    fn on_open(&mut self, conn: ConnId, now_ms: u64, opens_max: usize) -> Checked {
        self.opened.retain(|at| at + OPENS_PERIOD_MS > now_ms);
        self.opened.push_back(now_ms);
        ensure(self.opened.len() <= opens_max, "L4", || {
            format!("{opens_max} attempts to connect within {OPENS_PERIOD_MS} ms")
        })?;
        self.open.insert(conn);
        ensure(self.open.len() <= 2, "links", || {
            format!("more than two links live: {:?}", self.open)
        })
    }

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
    fn feed(
        &mut self,
        now: Now,
        names: &[ChannelName],
        input: Input,
        truth: &mut Truth,
    ) -> Checked {
        match &input {
            Input::Outbox(reply) => self.on_reply(names, reply, truth)?,
            Input::Token(_) => self.wants_token = false,
            Input::Received { .. } | Input::Event { .. } | Input::Response { .. } => {
                self.watches.values_mut().for_each(Watch::on_message);
            }
            _ => {}
        }
        let current = self.session.welcomed_links().first().copied();
        let ended = match input {
            Input::Closed { conn, .. } | Input::SendFailed { conn, .. } => Some(conn),
            Input::Response {
                conn, ref response, ..
            } if response.status != 200 => Some(conn),
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

    fn on_reply(&mut self, names: &[ChannelName], reply: &OutboxReply, truth: &Truth) -> Checked {
        match reply {
            OutboxReply::Opened(_) | OutboxReply::Kept { .. } => {}
            OutboxReply::Loaded { channel, stored } => {
                if let Some(watch) = self.named(names, channel, truth)?
                    && !std::mem::replace(&mut watch.is_loaded, true)
                {
                    for committed in &stored.committed {
                        watch.on_committed_before(committed, truth)?;
                    }
                    for row in &stored.rows {
                        watch.on_stored(row, truth)?;
                    }
                }
            }
            OutboxReply::Appended { channel, numbers } => {
                if let Some(watch) = self.named(names, channel, truth)? {
                    for (handle, n) in numbers {
                        watch.on_numbered(*handle, *n, truth)?;
                    }
                }
            }
            OutboxReply::Attempted {
                channel,
                rows,
                from,
                ..
            } => {
                if let Some(watch) = self.named(names, channel, truth)? {
                    for row in rows {
                        watch.on_stored(row, truth)?;
                        if row.n >= *from && row.attempts == 0 {
                            watch.on_unmarked(row.n);
                        }
                    }
                }
            }
            OutboxReply::Foreign { channel, rows } => {
                if let Some(watch) = self.named(names, channel, truth)?
                    && watch.is_loaded
                    && !watch.is_released
                {
                    for row in rows {
                        watch.on_stored(row, truth)?;
                    }
                }
            }
            OutboxReply::Neutralised {
                channel,
                done,
                too_late,
            } => {
                if let Some(watch) = self.named(names, channel, truth)? {
                    watch.on_neutralised(done, too_late, truth)?;
                }
            }
            OutboxReply::Settled { channel, rows, .. } => {
                if let Some(watch) = self.named(names, channel, truth)? {
                    watch.on_settled(rows)?;
                }
            }
            OutboxReply::Judged { channel, ended } => {
                if let Some(watch) = self.named(names, channel, truth)? {
                    watch.on_judged(ended);
                }
            }
            OutboxReply::Failed { request, .. } => {
                if let OutboxRequest::Append { channel, rows } = &**request
                    && let Some(watch) = self.named(names, channel, truth)?
                {
                    for row in rows {
                        watch.on_refused(row.handle)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The watch of a channel that the session still has.
    fn named(
        &mut self,
        names: &[ChannelName],
        name: &ChannelName,
        truth: &Truth,
    ) -> Checked<Option<&mut Watch>> {
        let channel = index(names, name)?;
        let session = &self.session;
        let mut watches = self.watches.values_mut();
        let mut watch = watches.find(|w| w.channel == channel && session.status(w.id).is_some());
        if let Some(watch) = &mut watch {
            watch.see(session, truth);
        }
        Ok(watch)
    }

    fn on_request(
        &mut self,
        names: &[ChannelName],
        request: &OutboxRequest,
        truth: &Truth,
    ) -> Checked {
        let Some(channel) = request.channel() else {
            return Ok(());
        };
        let Some(watch) = self.named(names, channel, truth)? else {
            return Ok(());
        };
        match request {
            OutboxRequest::Append { rows, .. } => {
                for row in rows.iter().filter(|row| row.ended.is_some()) {
                    watch.on_written_ended(row.handle)?;
                }
            }
            OutboxRequest::Attempt { from, through, .. } => watch.on_attempt(*from, *through),
            OutboxRequest::Neutralise { rows, .. } => watch.on_neutralise(rows)?,
            OutboxRequest::Settle { rows, epoch, .. } => {
                let id = watch.id;
                let cursor = self.session.cursor(id);
                if let Some(watch) = self.watches.get_mut(&id) {
                    watch.on_settle(rows, *epoch, cursor, truth)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ask_store(
        &self,
        names: &[ChannelName],
        request: OutboxRequest,
        hints: &mut Vec<(usize, Vec<u64>)>,
        truth: &mut Truth,
    ) -> Checked<OutboxReply> {
        let channel = request.channel().map(|name| index(names, name));
        let channel = channel.transpose()?;
        let made = match &request {
            OutboxRequest::Append { rows, .. } => {
                let watches = || self.watches.values();
                let made = rows
                    .iter()
                    .filter_map(|row| watches().find_map(|watch| watch.made(row.handle)));
                made.collect()
            }
            _ => Vec::new(),
        };
        let (reply, touched) = truth.transact(self.store, names, request, &made)?;
        if let Some(channel) = channel.filter(|_| !touched.is_empty()) {
            hints.push((channel, touched));
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
