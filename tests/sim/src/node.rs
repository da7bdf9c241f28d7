//! A server node: the driver around its connections and channels, whose logic is the real one.
//!
//! What the network half does with tasks and sockets is done here with effects: messages, answers and
//! time in; questions for the world out.

mod doors;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{Codec, Cursor, ErrorCode, Goaway, Limits, Push};
use tidewire_server::broker::{BrokerReply, BrokerRequest, EntryBody, NodeId};
use tidewire_server::channel::{
    Author, Channel, ChannelConfig, ChannelInput, ChannelOutput, Message, Outlet, OutletFull,
    PeerId, Policy,
};
use tidewire_server::connection::http::DeskHeard;
use tidewire_server::connection::{
    Access, ChannelRef, Connection, ConnectionInput, ConnectionOutput, ConnectionParts, Create,
    Ending, Hand, Outlets, Posted, SendQueue, Taken, To,
};
use tidewire_server::health::Health;
use tidewire_server::{Action, AuthError, Principal};

use self::doors::Reach;
pub use self::doors::{Answer, Key, Taken as Request, Wish};
use crate::link::LinkId;
use crate::policy::Rules;
use crate::shape::Shape;
use crate::violation::{Checked, Violation, ensure};
use crate::words::claims::{Liars, Lie};
use crate::words::health::Heard;

/// Unix time when every world begins.
pub const UNIX_START_MS: u64 = 1_795_000_000_000;

/// What a node wants from the world.
#[derive(Debug)]
pub enum Effect {
    /// Handle a channel's inbox soon.
    Turn(usize),
    /// Ask the broker.
    Broker {
        /// The channel.
        channel: usize,
        /// Which of its tasks.
        asker: u64,
        /// What.
        request: BrokerRequest,
    },
    /// Publish something on a channel.
    Publish(usize, Bytes),
    /// Wake a channel at a moment of the node's monotonic clock.
    Timer(usize, MonoTime),
    /// Wake a connection at a moment of the node's monotonic clock.
    Tick(PeerId, MonoTime),
    /// Ask the application who bears a token.
    Authenticate(PeerId, String),
    /// Move what is queued to the link.
    Flush(PeerId),
    /// Answer a request over HTTP.
    Answer(Key, Answer),
    /// A poll is held for so long.
    Hold(PeerId, Key, u64),
    /// The pushes of a POST are evaluated for so long.
    Evaluate(PeerId, u64),
    /// The client of a session over HTTP is not there any more.
    HungUp(PeerId),
}

/// Who lacks which grant, by principal and channel.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    /// These may not write.
    pub write: BTreeSet<(String, usize)>,
    /// These may not subscribe.
    pub read: BTreeSet<(String, usize)>,
}

/// What the application of every node says at a moment.
#[derive(Clone, Debug, Default)]
pub struct Grants(Arc<Mutex<Denials>>);

impl Grants {
    /// Who lacks what.
    pub fn denied(&self) -> MutexGuard<'_, Denials> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may(&self, principal: &str, channel: usize, action: Action) -> bool {
        let denied = self.denied();
        let key = (principal.to_owned(), channel);
        match action {
            Action::Write => !denied.write.contains(&key),
            _ => !denied.read.contains(&key),
        }
    }
}

/// The application as connections see it.
struct Application {
    grants: Grants,
    names: Arc<[ChannelName]>,
}

impl Access for Application {
    fn may(&self, who: &Principal, channel: &ChannelName, action: Action) -> bool {
        let at = self.names.iter().position(|name| name == channel);
        at.is_some_and(|at| self.grants.may(who.name(), at, action))
    }

    fn create(&self, _namespace: &str) -> Option<Create> {
        Some(Create::OnUse)
    }

    fn has_room(&self, _channel: &ChannelName) -> bool {
        true
    }
}

/// One channel's task, as connections know it.
#[derive(Clone, Debug)]
struct Task(Arc<TaskState>);

#[derive(Debug)]
struct TaskState {
    channel: usize,
    /// Tells it from the others of its node.
    number: u64,
    head: Mutex<Cursor>,
    closed: AtomicBool,
}

impl ChannelRef for Task {
    fn head(&self) -> Cursor {
        *self.0.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.0.closed.store(true, Ordering::Relaxed);
    }
}

/// The real send queue, behind the lock that channels and the link share.
pub struct Queue(Mutex<SendQueue>);

impl Queue {
    fn lock(&self) -> MutexGuard<'_, SendQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes onto the link next.
    pub fn take(&self) -> Option<Taken> {
        self.lock().take()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }
}

struct ChannelOutlet {
    queue: Arc<Queue>,
    channel: ChannelName,
}

impl Outlet for ChannelOutlet {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        let mut queue = self.queue.lock();
        queue.offer(message.proto(), &self.channel).map(drop)
    }
}

impl Outlets for Queue {
    fn outlet(self: Arc<Self>, channel: &ChannelName) -> Arc<dyn Outlet> {
        Arc::new(ChannelOutlet {
            queue: self,
            channel: channel.clone(),
        })
    }
}

/// One node.
pub struct Node {
    /// Counts restarts; what was meant for an older life is dropped.
    pub life: u64,
    /// Whether the process runs.
    pub is_up: bool,
    /// What it says of itself.
    health: Health,
    heard: Heard,
    /// How often a client asked for a range of the log.
    pub fetches: u64,
    /// How often an inbox had no room.
    pub full: u64,
    /// How far its wall clock is off.
    pub clock_ms: i64,
    seed: u64,
    /// Tells its lives, and those of others, apart.
    identity: u64,
    /// How many tasks were started.
    tasks: u64,
    started_ms: u64,
    rules: Rules,
    shape: Shape,
    grants: Grants,
    names: Arc<[ChannelName]>,
    hosts: BTreeMap<usize, Host>,
    peers: BTreeMap<PeerId, Peer>,
    /// Whose mutations an author's are.
    principals: BTreeMap<Author, String>,
}

struct Host {
    task: Task,
    channel: Channel,
    inbox: VecDeque<ChannelInput>,
    /// Who waits for room in the inbox, and with what.
    waiting: VecDeque<(PeerId, ChannelInput)>,
    has_turn: bool,
    /// When the channel wants to be woken.
    wake_at: Option<MonoTime>,
    asks_broker: bool,
    liars: Liars,
}

struct Peer {
    /// `None`: the pushes of one POST.
    link: Option<LinkId>,
    reach: Reach,
    queue: Arc<Queue>,
    connection: Connection<Task>,
    /// Messages that came while the connection did not read.
    unread: VecDeque<Bytes>,
    reads: bool,
    tick_at: Option<MonoTime>,
    principal: Option<Principal>,
    /// The application looks at a token.
    is_looked_at: bool,
    /// It got an input back and has to do something about it.
    owes: bool,
}

impl Peer {
    fn handle(&mut self, now: Now, input: ConnectionInput<Task>) {
        let is_back = matches!(input, ConnectionInput::Posted(Posted::Closed(_)));
        self.owes = is_back && !self.connection.has_ended();
        self.connection.handle_input(now, input);
    }
}

impl Node {
    /// A node that is up and serves nobody.
    #[must_use]
    pub fn new(seed: u64, names: Arc<[ChannelName]>, shape: &Shape, grants: Grants) -> Self {
        Self {
            life: 0,
            is_up: true,
            health: Health::default(),
            heard: Heard::default(),
            fetches: 0,
            full: 0,
            clock_ms: 0,
            seed,
            identity: seed,
            tasks: 0,
            started_ms: 0,
            rules: Rules {
                bulk_bytes: shape.bulk_bytes,
            },
            shape: shape.clone(),
            grants,
            names,
            hosts: BTreeMap::new(),
            peers: BTreeMap::new(),
            principals: BTreeMap::new(),
        }
    }

    /// The process is gone.
    pub fn crash(&mut self) {
        self.is_up = false;
        self.health = Health::default();
        self.heard = Heard::default();
        self.life += 1;
        self.hosts.clear();
        self.peers.clear();
    }

    /// The process runs again.
    pub const fn start(&mut self, now_ms: u64) {
        self.is_up = true;
        self.started_ms = now_ms;
    }

    /// Whether it takes new connections.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.is_up && !self.is_draining()
    }

    /// Whether it takes no new connections, since it is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.health.is_draining()
    }

    /// Both clocks of this node.
    #[must_use]
    pub fn now(&self, now_ms: u64) -> Now {
        let unix = (UNIX_START_MS + now_ms).saturating_add_signed(self.clock_ms);
        Now {
            mono: MonoTime(7 + now_ms - self.started_ms),
            unix: UnixTime(unix),
        }
    }

    /// When a moment of the node's monotonic clock comes in world time.
    #[must_use]
    pub const fn world_ms(&self, at: MonoTime) -> u64 {
        at.0.saturating_add(self.started_ms).saturating_sub(7)
    }

    /// The connections, oldest first.
    pub fn connections(&self) -> impl Iterator<Item = (PeerId, LinkId)> {
        let peers = self.peers.iter();
        peers.filter_map(|(id, peer)| Some((*id, peer.link?)))
    }

    /// The channels that run.
    pub fn channels(&self) -> impl Iterator<Item = usize> {
        self.hosts.keys().copied()
    }

    /// Whether a connection was let in.
    #[must_use]
    pub fn knows(&self, conn: PeerId) -> bool {
        let peer = self.peers.get(&conn);
        peer.is_some_and(|peer| peer.connection.is_welcomed())
    }

    /// The queue of a connection.
    #[must_use]
    pub fn queue(&self, conn: PeerId) -> Option<&Arc<Queue>> {
        self.peers.get(&conn).map(|peer| &peer.queue)
    }

    /// A link was taken.
    pub fn accept(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        link: LinkId,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        self.admit(now_ms, conn, Some(link), Reach::Socket, effects)
    }

    fn admit(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        link: Option<LinkId>,
        reach: Reach,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let limits = Arc::new(self.shape.queue());
        let queue = Arc::new(Queue(Mutex::new(SendQueue::new(Codec::Protobuf, limits))));
        let parts = ConnectionParts {
            peer: conn,
            session: u128::from(conn.0).to_be_bytes(),
            codec: Codec::Protobuf,
            config: Arc::new(self.connection_config()),
            access: Arc::new(Application {
                grants: self.grants.clone(),
                names: Arc::clone(&self.names),
            }),
            pace: None,
            outlets: Arc::clone(&queue) as _,
        };
        let peer = Peer {
            link,
            reach,
            queue,
            connection: Connection::new(parts, self.now(now_ms)),
            unread: VecDeque::new(),
            reads: false,
            tick_at: None,
            principal: None,
            is_looked_at: false,
            owes: false,
        };
        self.peers.insert(conn, peer);
        self.work(now_ms, conn, effects)
    }

    /// A link is gone.
    pub fn forget(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        cleanly: bool,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        self.input(now_ms, conn, ConnectionInput::Gone { cleanly }, effects)?;
        if let Some(peer) = self.peers.remove(&conn) {
            peer.reach.end(effects);
        }
        for host in self.hosts.values_mut() {
            host.waiting.retain(|(who, _)| *who != conn);
        }
        Ok(())
    }

    /// One message from a client.
    pub fn handle_message(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        message: &Bytes,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        peer.unread.push_back(message.clone());
        self.read(now_ms, conn, effects)
    }

    /// The application has looked at a token.
    pub fn authenticated(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        answer: Result<Principal, AuthError>,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        peer.is_looked_at = false;
        let refreshed = peer.connection.is_welcomed() && answer.is_ok();
        if let Ok(principal) = &answer
            && (refreshed || peer.principal.is_none())
        {
            peer.principal = Some(principal.clone());
        }
        let input = ConnectionInput::Authenticated(answer);
        self.input(now_ms, conn, input, effects)?;
        if let Some(peer) = self.peers.get(&conn).filter(|_| refreshed) {
            for channel in peer.connection.channels() {
                let channel = self.index(channel.as_str())?;
                let who = peer.principal.as_ref().map_or("", |who| who.name());
                ensure(
                    self.grants.may(who, channel, Action::Read),
                    "grants",
                    || {
                        format!(
                            "{who} still follows channel {channel} after a refresh that denies it"
                        )
                    },
                )?;
            }
        }
        Ok(())
    }

    /// The time that a connection named has come, or was put off.
    pub fn tick(&mut self, now_ms: u64, conn: PeerId, effects: &mut Vec<Effect>) -> Checked {
        let now = self.now(now_ms);
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        if peer.tick_at.is_none_or(|at| at > now.mono) {
            return Ok(());
        }
        peer.tick_at = None;
        self.input(now_ms, conn, ConnectionInput::Timeout, effects)?;
        let Some(peer) = self.peers.get(&conn) else {
            return Ok(());
        };
        let expiry = peer.principal.as_ref().and_then(Principal::expiry);
        // A new token that came in time is looked at first.
        let expiry = expiry.filter(|_| !peer.is_looked_at);
        let is_over = expiry.is_some_and(|at| at <= now.unix) && peer.connection.is_welcomed();
        ensure(!is_over || peer.connection.has_ended(), "expiry", || {
            format!("{conn:?} goes on with a token that has expired")
        })
    }

    /// The node will close: every client is told.
    pub fn drain(&mut self, now_ms: u64, goaway: &Goaway, effects: &mut Vec<Effect>) -> Checked {
        self.health.drain();
        self.heard.on_drain();
        self.heard.check(&self.health)?;
        let conns: Vec<PeerId> = self.peers.keys().copied().collect();
        for conn in conns {
            let input = ConnectionInput::Drain(goaway.clone());
            self.input(now_ms, conn, input, effects)?;
        }
        Ok(())
    }

    /// One client is asked to leave.
    pub fn ask_to_leave(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        goaway: Goaway,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        self.input(now_ms, conn, ConnectionInput::Drain(goaway), effects)
    }

    /// A channel's task dies, as a panic would end it: what waits in it is lost.
    pub fn abandon(
        &mut self,
        now_ms: u64,
        channel: usize,
        effects: &mut Vec<Effect>,
    ) -> Checked<bool> {
        let Some(mut host) = self.hosts.remove(&channel) else {
            return Ok(false);
        };
        let waiting = std::mem::take(&mut host.waiting);
        drop(host);
        self.give_back(now_ms, waiting, effects)?;
        Ok(true)
    }

    /// The admin door deletes a channel.
    pub fn delete(&mut self, channel: usize, effects: &mut Vec<Effect>) {
        self.start_host(channel);
        self.feed(channel, ChannelInput::Delete, effects);
    }

    /// A reader comes and lies.
    pub fn forge(&mut self, channel: usize, lie: &Lie, effects: &mut Vec<Effect>) {
        let name = self.names[channel].clone();
        let said = self.start_host(channel).liars.lie(name.as_str(), lie);
        for input in said {
            self.feed(channel, input, effects);
        }
    }

    /// Whoever lied last is gone.
    pub fn stop_lying(&mut self, effects: &mut Vec<Effect>) {
        let gone: Vec<_> = self
            .hosts
            .iter_mut()
            .filter_map(|(channel, host)| Some((*channel, host.liars.leave()?)))
            .collect();
        for (channel, input) in gone {
            self.feed(channel, input, effects);
        }
    }

    /// The broker's watch woke a channel.
    pub fn wake(&mut self, channel: usize, effects: &mut Vec<Effect>) {
        self.feed(channel, ChannelInput::Woken, effects);
    }

    /// The broker brings what somebody has published.
    pub fn hear(&mut self, channel: usize, message: Bytes, effects: &mut Vec<Effect>) {
        self.feed(channel, ChannelInput::Published(message), effects);
    }

    /// The broker answered a channel.
    pub fn reply(
        &mut self,
        channel: usize,
        asker: u64,
        reply: BrokerReply,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        // The answer to a task that died is nobody's.
        if let Some(host) = self.hosts.get_mut(&channel)
            && host.asks_broker
            && host.asker() == asker
        {
            host.asks_broker = false;
            self.health
                .note(!matches!(reply, BrokerReply::Failed { .. }));
            self.heard.on_reply(&reply);
            self.heard.check(&self.health)?;
            self.feed(channel, ChannelInput::Broker(reply), effects);
        }
        Ok(())
    }

    /// A channel's timer fired: it is woken if it still wants to be by now.
    pub fn timeout(&mut self, now_ms: u64, channel: usize, effects: &mut Vec<Effect>) {
        let now = self.now(now_ms).mono;
        if let Some(host) = self.hosts.get_mut(&channel)
            && host.wake_at.is_some_and(|at| at <= now)
        {
            host.wake_at = None;
            self.feed(channel, ChannelInput::Timeout, effects);
        }
    }

    /// There is room in a connection's queue again.
    pub fn drained(&mut self, conn: PeerId, names: &[ChannelName], effects: &mut Vec<Effect>) {
        for name in names {
            if let Some(channel) = self.names.iter().position(|known| known == name) {
                self.feed(channel, ChannelInput::Drained { conn }, effects);
            }
        }
    }

    /// Handles everything that waits in a channel's inbox.
    pub fn turn(&mut self, now_ms: u64, channel: usize, effects: &mut Vec<Effect>) -> Checked {
        let now = self.now(now_ms);
        let Some(host) = self.hosts.get_mut(&channel) else {
            return Ok(());
        };
        host.has_turn = false;
        let asker = host.asker();
        while let Some(input) = host.inbox.pop_front() {
            host.channel.handle_input(now, input);
        }
        let mut closed = Vec::new();
        let mut requests = Vec::new();
        let mut outputs = 0;
        loop {
            outputs += 1;
            ensure(outputs < 10_000, "L4", || {
                "a channel has more to say than it can mean".into()
            })?;
            match host.channel.poll_output() {
                ChannelOutput::Broker(request) => {
                    ensure(!host.asks_broker, "seam", || {
                        "a channel asks its broker twice at a time".into()
                    })?;
                    host.asks_broker = true;
                    if let BrokerRequest::Append { entries, .. } = &request
                        && let [entry] = &entries[..]
                        && matches!(entry.body, EntryBody::Opening { .. })
                    {
                        host.liars.check_opening(entry.cursor.epoch)?;
                    }
                    requests.push(request);
                }
                ChannelOutput::Publish(message) => {
                    effects.push(Effect::Publish(channel, message));
                }
                ChannelOutput::Close { conn, code } => closed.push((conn, code)),
                ChannelOutput::Wait(at) => {
                    if host.wake_at != at
                        && let Some(at) = at
                    {
                        effects.push(Effect::Timer(channel, at));
                    }
                    host.wake_at = at;
                    break;
                }
            }
        }
        *host
            .task
            .0
            .head
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = host.channel.head();
        let is_idle = host.channel.is_idle() && host.waiting.is_empty();
        ensure(!is_idle || !host.asks_broker, "seam", || {
            "a channel is idle while it asks its broker".into()
        })?;
        let waiting = std::mem::take(&mut host.waiting);
        if self.shape.drops_idle_channels && is_idle {
            self.hosts.remove(&channel);
        }
        for request in requests {
            self.check_grants(channel, &request)?;
            effects.push(Effect::Broker {
                channel,
                asker,
                request,
            });
        }
        for (conn, code) in closed {
            if let Some(peer) = self.peers.get(&conn) {
                peer.queue.lock().end(Ending::of(code));
            }
        }
        self.let_in(now_ms, channel, waiting, effects)?;
        let full = self.peers.iter().filter(|(_, peer)| {
            let queue = peer.queue.lock();
            !queue.is_empty() || queue.has_refused()
        });
        effects.extend(full.map(|(conn, _)| Effect::Flush(*conn)));
        Ok(())
    }

    /// Those who waited for room in an inbox get it, as far as it goes.
    fn let_in(
        &mut self,
        now_ms: u64,
        channel: usize,
        mut waiting: VecDeque<(PeerId, ChannelInput)>,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        while let Some((conn, input)) = waiting.pop_front() {
            let room = self.shape.inbox_max;
            match self.hosts.get_mut(&channel) {
                Some(host) if host.inbox.len() >= room => {
                    host.waiting.push_back((conn, input));
                }
                Some(host) => {
                    let task = host.task.clone();
                    self.feed(channel, input, effects);
                    let posted = ConnectionInput::Posted(Posted::Taken(task));
                    self.input(now_ms, conn, posted, effects)?;
                }
                None => self.give_back(now_ms, VecDeque::from([(conn, input)]), effects)?,
            }
        }
        Ok(())
    }

    fn give_back(
        &mut self,
        now_ms: u64,
        waiting: VecDeque<(PeerId, ChannelInput)>,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        for (conn, input) in waiting {
            let posted = ConnectionInput::Posted(Posted::Closed(input));
            self.input(now_ms, conn, posted, effects)?;
        }
        Ok(())
    }

    /// What is appended was evaluated now: by the grants of now (S13).
    fn check_grants(&self, channel: usize, request: &BrokerRequest) -> Checked {
        let BrokerRequest::Append { entries, .. } = request else {
            return Ok(());
        };
        for entry in entries {
            let author = author_of_entry(entry);
            let Some(principal) = author.and_then(|author| self.principals.get(&author)) else {
                continue;
            };
            ensure(
                self.grants.may(principal, channel, Action::Write),
                "grants",
                || {
                    format!(
                        "{principal} may not write to channel {channel}, and {entry:?} is appended"
                    )
                },
            )?;
        }
        Ok(())
    }

    fn start_host(&mut self, channel: usize) -> &mut Host {
        let identity = NodeId(self.identity.wrapping_add(self.life));
        let Self {
            hosts,
            seed,
            names,
            shape,
            rules,
            tasks,
            ..
        } = self;
        hosts.entry(channel).or_insert_with(|| {
            *tasks += 1;
            *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            Host {
                task: Task(Arc::new(TaskState {
                    channel,
                    number: *tasks,
                    head: Mutex::default(),
                    closed: AtomicBool::new(false),
                })),
                channel: Channel::new(
                    names[channel].clone(),
                    ChannelConfig {
                        node: (shape.nodes > 1).then_some(identity),
                        ..shape.channel.clone()
                    },
                    Arc::new(*rules) as Arc<dyn Policy>,
                    *seed,
                ),
                inbox: VecDeque::new(),
                waiting: VecDeque::new(),
                has_turn: false,
                wake_at: None,
                asks_broker: false,
                liars: Liars::default(),
            }
        })
    }

    /// An input for a channel that runs.
    fn feed(&mut self, channel: usize, input: ChannelInput, effects: &mut Vec<Effect>) {
        if let Some(host) = self.hosts.get_mut(&channel) {
            host.inbox.push_back(input);
            if !host.has_turn {
                host.has_turn = true;
                effects.push(Effect::Turn(channel));
            }
        }
    }

    fn input(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        input: ConnectionInput<Task>,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let now = self.now(now_ms);
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        peer.handle(now, input);
        self.work(now_ms, conn, effects)?;
        self.read(now_ms, conn, effects)
    }

    /// Hands over messages that wait, while the connection reads.
    fn read(&mut self, now_ms: u64, conn: PeerId, effects: &mut Vec<Effect>) -> Checked {
        let now = self.now(now_ms);
        while let Some(peer) = self.peers.get_mut(&conn)
            && peer.reads
        {
            if let Some(message) = peer.unread.pop_front() {
                peer.handle(now, ConnectionInput::Message(message));
            } else if let Some(heard) = peer.reach.next() {
                match heard {
                    DeskHeard::Message(message) => {
                        peer.handle(now, ConnectionInput::Message(message));
                    }
                    DeskHeard::Life => peer.handle(now, ConnectionInput::Heard),
                    DeskHeard::HungUp => {
                        peer.reads = false;
                        effects.push(Effect::HungUp(conn));
                        return Ok(());
                    }
                }
            } else {
                return Ok(());
            }
            self.work(now_ms, conn, effects)?;
        }
        Ok(())
    }

    /// Does what a connection asks.
    fn work(&mut self, now_ms: u64, conn: PeerId, effects: &mut Vec<Effect>) -> Checked {
        let now = self.now(now_ms);
        let mut outputs = 0;
        while let Some(peer) = self.peers.get_mut(&conn) {
            outputs += 1;
            ensure(outputs < 10_000, "L4", || {
                "a connection has more to say than it can mean".into()
            })?;
            let output = peer.connection.poll_output();
            let waits = matches!(output, ConnectionOutput::Wait { .. });
            ensure(!waits || !peer.owes, "seam", || {
                format!("{conn:?} got an input back and dropped it")
            })?;
            peer.owes = false;
            match output {
                ConnectionOutput::Send(frame) => peer.queue.lock().send(frame),
                ConnectionOutput::Fail(fault) => {
                    ensure(is_honest(fault.code), "wire", || {
                        format!("a client broke the contract: {fault:?}")
                    })?;
                    peer.queue.lock().fail(fault);
                }
                ConnectionOutput::MessageBytesMax(bytes) => {
                    peer.queue.lock().set_message_bytes_max(bytes);
                }
                ConnectionOutput::Welcomed(principal) => peer.reach.let_in(&principal),
                ConnectionOutput::Authenticate { .. } if peer.reach.vouched().is_some() => {
                    let principal = peer.reach.vouched().cloned();
                    peer.principal.clone_from(&principal);
                    if let Some(principal) = principal {
                        peer.handle(now, ConnectionInput::Authenticated(Ok(principal)));
                    }
                }
                ConnectionOutput::Authenticate { token } => {
                    peer.is_looked_at = true;
                    effects.push(Effect::Authenticate(conn, token));
                }
                ConnectionOutput::CheckOpen(_) => {
                    peer.handle(now, ConnectionInput::Opened(Some(true)));
                }
                ConnectionOutput::Post { to, hand, input } => {
                    if let Some(posted) = self.post(conn, to, hand, input, effects)?
                        && let Some(peer) = self.peers.get_mut(&conn)
                    {
                        peer.handle(now, ConnectionInput::Posted(posted));
                    }
                }
                ConnectionOutput::Wait { at, reads } => {
                    peer.reads = reads;
                    if let Some(at) = at
                        && peer.tick_at.is_none_or(|known| at < known)
                    {
                        peer.tick_at = Some(at);
                        effects.push(Effect::Tick(conn, at));
                    }
                    effects.push(Effect::Flush(conn));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn post(
        &mut self,
        conn: PeerId,
        to: To<Task>,
        hand: Hand,
        input: ChannelInput,
        effects: &mut Vec<Effect>,
    ) -> Checked<Option<Posted<Task>>> {
        self.check_input(&input)?;
        let answered = |posted| Ok((hand != Hand::Always).then_some(posted));
        let channel = match &to {
            To::Start { name, .. } | To::Running(name) => self.index(name.as_str())?,
            To::Task(task) => task.0.channel,
        };
        let known = match &to {
            To::Start { last, .. } => last.as_ref(),
            To::Running(_) => None,
            To::Task(task) => Some(task),
        };
        let runs = self.hosts.get(&channel).map(|host| &host.task);
        if known.is_some_and(|known| runs.is_none_or(|runs| !known.is(runs)))
            || (runs.is_none() && (hand == Hand::Always || !matches!(to, To::Start { .. })))
        {
            return answered(Posted::Closed(input));
        }
        if runs.is_none() {
            let who = self
                .peers
                .get(&conn)
                .and_then(|peer| peer.principal.as_ref());
            let who = who.map_or("", |who| who.name());
            let may = |action| self.grants.may(who, channel, action);
            ensure(may(Action::Read) || may(Action::Write), "grants", || {
                format!("{who} may do nothing on channel {channel}, and starts it")
            })?;
        }
        let inbox_max = self.shape.inbox_max;
        let host = self.start_host(channel);
        let task = host.task.clone();
        if hand != Hand::Always && host.inbox.len() >= inbox_max {
            if hand == Hand::Waiting {
                host.waiting.push_back((conn, input));
                self.full += 1;
                return Ok(None);
            }
            self.full += 1;
            return answered(Posted::Full);
        }
        self.feed(channel, input, effects);
        answered(Posted::Taken(task))
    }

    /// Bounds that hold for everything that a client says.
    fn check_input(&mut self, input: &ChannelInput) -> Checked {
        match input {
            ChannelInput::Push { subscriber, push } => {
                let principal = subscriber.principal.to_string();
                self.principals.insert(subscriber.author, principal);
                check_push(push)
            }
            ChannelInput::Fetch { .. } => {
                self.fetches += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn index(&self, channel: &str) -> Checked<usize> {
        self.names
            .iter()
            .position(|name| name.as_str() == channel)
            .ok_or_else(|| Violation::new("wire", format!("unknown channel {channel:?}")))
    }
}

impl Host {
    fn asker(&self) -> u64 {
        self.task.0.number
    }
}

/// Whether a client that keeps to the contract may meet this end.
const fn is_honest(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::HelloTimeout
            | ErrorCode::HeartbeatTimeout
            | ErrorCode::TokenExpired
            | ErrorCode::AuthUnavailable
    )
}

fn author_of_entry(entry: &tidewire_server::broker::Entry) -> Option<Author> {
    match &entry.body {
        tidewire_server::broker::EntryBody::Mutation { author, .. } => Some(*author),
        _ => None,
    }
}

/// Bounds that hold for everything that a client pushes (S14).
fn check_push(push: &Push) -> Checked {
    let limits = Limits::DEFAULT;
    ensure(!push.items.is_empty(), "wire", || "an empty push".into())?;
    ensure(
        push.items.len() <= limits.push_items as usize,
        "S14",
        || format!("{} items in one push", push.items.len()),
    )?;
    ensure(push.low >= 1 && push.low <= push.first_n, "wire", || {
        format!("low {} above first_n {}", push.low, push.first_n)
    })
}

/// Whose mutations those of a client are.
#[must_use]
pub fn author_of(principal: &str, client: &[u8]) -> Author {
    Principal::new(principal).author(client)
}
