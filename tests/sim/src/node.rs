//! A server node without its sockets: what the network half does around the channels.
//!
//! Pure like the channels: messages, broker replies and time in; effects out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{
    ClientKind, CloseCode, ErrorCode, ErrorFrame, Goaway, Head, Heartbeat, Hello, Limits,
    PROTOCOL_VERSION, Pong, Push, Refreshed, ServerKind, Welcome, decode_client, server_message,
};
use tidewire_server::broker::{BrokerReply, BrokerRequest};
use tidewire_server::channel::{
    Author, Channel, ChannelInput, ChannelOutput, PeerId, Policy, Subscriber,
};

use crate::link::LinkId;
use crate::outlet::Queue;
use crate::policy::Rules;
use crate::shape::Shape;
use crate::violation::{Checked, Violation, ensure};

/// Unix time when every world begins.
pub const UNIX_START_MS: u64 = 1_795_000_000_000;

/// A connection without a hello is closed after this.
const HELLO_TIMEOUT_MS: u64 = 5_000;

/// A token is good for so much longer than it says: for clocks that differ, and frames under way.
const TOKEN_LEEWAY_MS: u64 = 4_000;

/// A connection that was not heard of for this many heartbeats is closed.
const MISSED_HEARTBEATS_MAX: u64 = 3;

/// What a node wants from the world.
#[derive(Debug)]
pub enum Effect {
    /// Handle a channel's inbox soon.
    Turn(usize),
    /// Ask the broker.
    Broker(usize, BrokerRequest),
    /// Wake a channel at a moment of the node's monotonic clock.
    Timer(usize, MonoTime),
    /// Call [`Node::expire`] for a connection in this many ms.
    Expire(PeerId, u64),
    /// Call [`Node::tick`] for a connection in this many ms.
    Tick(PeerId, u64),
    /// Move what is queued to the link.
    Flush(PeerId),
    /// Flush, then close the link.
    Hangup(PeerId, CloseCode),
}

/// Who lacks which grant, by principal and channel.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    /// These may not write.
    pub write: BTreeSet<(String, usize)>,
    /// These may not subscribe.
    pub read: BTreeSet<(String, usize)>,
}

/// One node.
pub struct Node {
    /// Counts restarts; what was meant for an older life is dropped.
    pub life: u64,
    /// Whether the process runs.
    pub is_up: bool,
    /// Whether it takes no new connections.
    pub is_draining: bool,
    /// How often a client asked for a range of the log.
    pub fetches: u64,
    /// How far its wall clock is off.
    pub clock_ms: i64,
    seed: u64,
    started_ms: u64,
    rules: Rules,
    shape: Shape,
    names: Arc<[ChannelName]>,
    hosts: BTreeMap<usize, Host>,
    connections: BTreeMap<PeerId, Connection>,
}

struct Host {
    channel: Channel,
    inbox: VecDeque<ChannelInput>,
    has_turn: bool,
    /// When the channel wants to be woken.
    wake_at: Option<MonoTime>,
    asks_broker: bool,
}

struct Connection {
    link: LinkId,
    queue: Arc<Queue>,
    who: Option<(Arc<str>, Author)>,
    subscribed: BTreeSet<usize>,
    heard_ms: u64,
    opened_ms: u64,
    /// When its token is no longer good.
    expires_at_ms: Option<u64>,
}

impl Node {
    /// A node that is up and serves nobody.
    #[must_use]
    pub fn new(seed: u64, names: Arc<[ChannelName]>, shape: &Shape) -> Self {
        Self {
            life: 0,
            is_up: true,
            is_draining: false,
            fetches: 0,
            clock_ms: 0,
            seed,
            started_ms: 0,
            rules: Rules {
                bulk_bytes: shape.bulk_bytes,
            },
            shape: shape.clone(),
            names,
            hosts: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// The process is gone.
    pub fn crash(&mut self) {
        self.is_up = false;
        self.is_draining = false;
        self.life += 1;
        self.hosts.clear();
        self.connections.clear();
    }

    /// The process runs again.
    pub const fn start(&mut self, now_ms: u64) {
        self.is_up = true;
        self.started_ms = now_ms;
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
        self.connections.iter().map(|(id, c)| (*id, c.link))
    }

    /// Whether a channel is in memory.
    #[must_use]
    pub fn hosts(&self, channel: usize) -> bool {
        self.hosts.contains_key(&channel)
    }

    /// Whether a connection said who it is.
    #[must_use]
    pub fn knows(&self, conn: PeerId) -> bool {
        self.connections.get(&conn).is_some_and(|c| c.who.is_some())
    }

    /// The queue of a connection.
    #[must_use]
    pub fn queue(&self, conn: PeerId) -> Option<&Arc<Queue>> {
        self.connections.get(&conn).map(|c| &c.queue)
    }

    /// Who is on a connection that follows this channel.
    pub fn subscribers(&self, channel: usize) -> impl Iterator<Item = LinkId> {
        self.connections
            .values()
            .filter(move |c| c.subscribed.contains(&channel))
            .map(|c| c.link)
    }

    /// A link was taken.
    pub fn accept(&mut self, now_ms: u64, conn: PeerId, link: LinkId, effects: &mut Vec<Effect>) {
        self.connections.insert(
            conn,
            Connection {
                link,
                queue: Arc::new(Queue::new(self.shape.outlet_bytes)),
                who: None,
                subscribed: BTreeSet::new(),
                heard_ms: now_ms,
                opened_ms: now_ms,
                expires_at_ms: None,
            },
        );
        effects.push(Effect::Tick(
            conn,
            HELLO_TIMEOUT_MS.min(self.shape.heartbeat_ms),
        ));
    }

    /// A link is gone.
    pub fn forget(&mut self, conn: PeerId, effects: &mut Vec<Effect>) -> Option<Arc<Queue>> {
        let connection = self.connections.remove(&conn)?;
        for channel in &connection.subscribed {
            self.post(*channel, ChannelInput::Unsubscribe { conn }, effects);
        }
        Some(connection.queue)
    }

    /// One message from a client.
    pub fn handle_message(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        message: &Bytes,
        denied: &Denials,
        refuse_token: bool,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Ok(());
        };
        connection.heard_ms = now_ms;
        let limit = Limits::DEFAULT.frame_up_bytes as usize;
        let frames = decode_client(message.clone(), limit)
            .map_err(|e| Violation::new("wire", format!("a client's message: {e}")))?;
        for frame in frames {
            self.handle_frame(now_ms, conn, frame, denied, refuse_token, effects)?;
            if !self.connections.contains_key(&conn) {
                break;
            }
        }
        Ok(())
    }

    fn handle_frame(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        frame: ClientKind,
        denied: &Denials,
        refuse_token: bool,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Ok(());
        };
        if let ClientKind::Hello(hello) = frame {
            ensure(connection.who.is_none(), "wire", || "a second hello".into())?;
            if refuse_token {
                self.fail(conn, ErrorCode::TokenExpired, effects);
                return Ok(());
            }
            return self.welcome(now_ms, conn, &hello, effects);
        }
        let Some((principal, author)) = connection.who.clone() else {
            return Err(Violation::new("wire", format!("before hello: {frame:?}")));
        };
        let queue = Arc::clone(&connection.queue);
        let subscriber = Subscriber {
            conn,
            principal: Arc::clone(&principal),
            author,
            outlet: Arc::clone(&queue) as _,
        };
        match frame {
            ClientKind::Subscribe(subscribe) => {
                let channel = self.index(&subscribe.channel)?;
                if denied.read.contains(&(principal.to_string(), channel)) {
                    // Refused is let go: nothing of an earlier subscription goes on.
                    if let Some(connection) = self.connections.get_mut(&conn)
                        && connection.subscribed.remove(&channel)
                    {
                        self.post(channel, ChannelInput::Unsubscribe { conn }, effects);
                    }
                    queue.put(&server_message(ServerKind::Error(ErrorFrame {
                        code: ErrorCode::Forbidden as u32,
                        channel: Some(subscribe.channel),
                        detail: "no read grant for this channel".into(),
                        ..ErrorFrame::default()
                    })));
                    effects.push(Effect::Flush(conn));
                    return Ok(());
                }
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.subscribed.insert(channel);
                }
                self.post(
                    channel,
                    ChannelInput::Subscribe {
                        subscriber,
                        have: subscribe.have,
                        max_epoch: subscribe.max_epoch,
                    },
                    effects,
                );
            }
            ClientKind::Unsubscribe(unsubscribe) => {
                let channel = self.index(&unsubscribe.channel)?;
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.subscribed.remove(&channel);
                }
                self.post(channel, ChannelInput::Unsubscribe { conn }, effects);
            }
            ClientKind::Push(push) => {
                check_push(&push)?;
                let channel = self.index(&push.channel)?;
                let writable = !denied.write.contains(&(principal.to_string(), channel));
                self.post(
                    channel,
                    ChannelInput::Push {
                        subscriber,
                        writable,
                        push,
                    },
                    effects,
                );
            }
            ClientKind::PresenceSet(set) => {
                let channel = self.index(&set.channel)?;
                let data = set.data;
                self.post(channel, ChannelInput::SetPresence { conn, data }, effects);
            }
            ClientKind::Ping(ping) => {
                queue.put(&server_message(ServerKind::Pong(Pong { t: ping.t })));
                effects.push(Effect::Flush(conn));
            }
            ClientKind::Pong(_) => {}
            ClientKind::Refresh(_) => {
                if let Some(life) = self.shape.token_ms
                    && let Some(connection) = self.connections.get_mut(&conn)
                {
                    let end_ms = life + TOKEN_LEEWAY_MS;
                    connection.expires_at_ms = Some(now_ms + end_ms);
                    effects.push(Effect::Expire(conn, end_ms));
                    let expires_ms = self.now(now_ms).unix.0 + life;
                    queue.put(&server_message(ServerKind::Refreshed(Refreshed {
                        expires_ms,
                    })));
                    effects.push(Effect::Flush(conn));
                }
            }
            ClientKind::Fetch(fetch) => {
                self.fetches += 1;
                let channel = self.index(&fetch.channel)?;
                let is_subscribed = self
                    .connections
                    .get(&conn)
                    .is_some_and(|connection| connection.subscribed.contains(&channel));
                if is_subscribed {
                    let input = ChannelInput::Fetch {
                        conn,
                        epoch: fetch.epoch,
                        after: fetch.after,
                        through: fetch.through,
                    };
                    self.post(channel, input, effects);
                }
            }
            other => return Err(Violation::new("wire", format!("a client sent {other:?}"))),
        }
        Ok(())
    }

    fn welcome(
        &mut self,
        now_ms: u64,
        conn: PeerId,
        hello: &Hello,
        effects: &mut Vec<Effect>,
    ) -> Checked {
        let server_ms = self.now(now_ms).unix.0;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Ok(());
        };
        ensure(hello.version == PROTOCOL_VERSION, "wire", || {
            format!("hello speaks version {}", hello.version)
        })?;
        let principal: Arc<str> = hello
            .token
            .strip_prefix("dev:")
            .ok_or_else(|| Violation::new("wire", format!("token {:?}", hello.token)))?
            .into();
        let author = author_of(&principal, &hello.client);
        connection.who = Some((Arc::clone(&principal), author));
        let life_ms = self.shape.token_ms;
        let end_ms = life_ms.map(|life| life + TOKEN_LEEWAY_MS);
        connection.expires_at_ms = end_ms.map(|end| now_ms + end);
        effects.extend(end_ms.map(|end| Effect::Expire(conn, end)));
        connection
            .queue
            .put(&server_message(ServerKind::Welcome(Welcome {
                session: Bytes::copy_from_slice(&u128::from(conn.0).to_be_bytes()),
                principal: principal.to_string(),
                author: Bytes::copy_from_slice(&author.0),
                server_ms,
                expires_ms: life_ms.map_or(0, |life| server_ms + life),
                limits: Some(Limits::DEFAULT),
                heartbeat_ms: u32::try_from(self.shape.heartbeat_ms).unwrap_or(u32::MAX),
                flags: 0,
                ..Welcome::default()
            })));
        effects.push(Effect::Flush(conn));
        Ok(())
    }

    /// Whether the token of a connection is no longer good.
    #[must_use]
    pub fn has_expired(&self, now_ms: u64, conn: PeerId) -> bool {
        self.connections
            .get(&conn)
            .and_then(|c| c.expires_at_ms)
            .is_some_and(|at| at <= now_ms)
    }

    /// Closes a connection whose token was not renewed in time.
    pub fn expire(&mut self, now_ms: u64, conn: PeerId, effects: &mut Vec<Effect>) {
        if self.has_expired(now_ms, conn) {
            self.fail(conn, ErrorCode::TokenExpired, effects);
        }
    }

    /// The heartbeat of a connection: says hello to the living, closes the dead.
    pub fn tick(&mut self, now_ms: u64, conn: PeerId, effects: &mut Vec<Effect>) {
        let interval = self.shape.heartbeat_ms;
        let server_ms = self.now(now_ms).unix.0;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.who.is_none() && now_ms >= connection.opened_ms + HELLO_TIMEOUT_MS {
            self.fail(conn, ErrorCode::HelloTimeout, effects);
            return;
        }
        if now_ms >= connection.heard_ms + MISSED_HEARTBEATS_MAX * interval {
            self.fail(conn, ErrorCode::HeartbeatTimeout, effects);
            return;
        }
        effects.push(Effect::Tick(conn, interval));
        if connection.who.is_none() {
            return;
        }
        let heads = connection
            .subscribed
            .iter()
            .filter_map(|channel| {
                let head = self.hosts.get(channel)?.channel.head();
                (head.seq > 0).then(|| Head {
                    channel: self.names[*channel].to_string(),
                    cursor: Some(head),
                })
            })
            .collect();
        connection
            .queue
            .put(&server_message(ServerKind::Heartbeat(Heartbeat {
                heads,
                server_ms,
            })));
        effects.push(Effect::Flush(conn));
    }

    /// The node will close: every client is told.
    pub fn drain(&mut self, by_ms: u32, window_ms: u32, alone: bool, effects: &mut Vec<Effect>) {
        self.is_draining = true;
        let goaway = server_message(ServerKind::Goaway(Goaway {
            by_ms,
            window_ms,
            reason: "the node restarts".into(),
            alone,
        }));
        for (conn, connection) in &self.connections {
            connection.queue.put(&goaway);
            effects.push(Effect::Flush(*conn));
        }
    }

    /// The admin door deletes a channel.
    pub fn delete(&mut self, channel: usize, effects: &mut Vec<Effect>) {
        self.post(channel, ChannelInput::Delete, effects);
    }

    /// The broker's watch woke a channel.
    pub fn wake(&mut self, channel: usize, effects: &mut Vec<Effect>) {
        if self.hosts.contains_key(&channel) {
            self.post(channel, ChannelInput::Woken, effects);
        }
    }

    /// The broker answered a channel.
    pub fn reply(&mut self, channel: usize, reply: BrokerReply, effects: &mut Vec<Effect>) {
        if let Some(host) = self.hosts.get_mut(&channel) {
            host.asks_broker = false;
        }
        self.post(channel, ChannelInput::Broker(reply), effects);
    }

    /// A channel's timer fired: it is woken if it still wants to be by now.
    pub fn timeout(&mut self, now_ms: u64, channel: usize, effects: &mut Vec<Effect>) {
        let now = self.now(now_ms).mono;
        if let Some(host) = self.hosts.get_mut(&channel)
            && host.wake_at.is_some_and(|at| at <= now)
        {
            host.wake_at = None;
            self.post(channel, ChannelInput::Timeout, effects);
        }
    }

    /// A connection's queue was moved on: tells its channels if they wait for room.
    pub fn drained(&mut self, conn: PeerId, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        if connection.queue.has_room_again() {
            for channel in connection.subscribed.clone() {
                self.post(channel, ChannelInput::Drained { conn }, effects);
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
        while let Some(input) = host.inbox.pop_front() {
            host.channel.handle_input(now, input);
        }
        let mut closed = Vec::new();
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
                    effects.push(Effect::Broker(channel, request));
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
        let drop = self.shape.drops_idle_channels && host.channel.is_idle();
        if drop {
            ensure(!host.asks_broker, "seam", || {
                "a channel is idle while it asks its broker".into()
            })?;
            self.hosts.remove(&channel);
        }
        for (conn, code) in closed {
            if self.connections.contains_key(&conn) {
                effects.push(Effect::Hangup(conn, CloseCode::of(code)));
            }
        }
        let waiting = self.connections.iter().filter(|(_, c)| c.queue.wants_out());
        effects.extend(waiting.map(|(conn, _)| Effect::Flush(*conn)));
        Ok(())
    }

    fn post(&mut self, channel: usize, input: ChannelInput, effects: &mut Vec<Effect>) {
        let host = self.hosts.entry(channel).or_insert_with(|| {
            self.seed = self
                .seed
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(1);
            Host {
                channel: Channel::new(
                    self.names[channel].clone(),
                    self.shape.channel.clone(),
                    Arc::new(self.rules) as Arc<dyn Policy>,
                    self.seed,
                ),
                inbox: VecDeque::new(),
                has_turn: false,
                wake_at: None,
                asks_broker: false,
            }
        });
        host.inbox.push_back(input);
        if !host.has_turn {
            host.has_turn = true;
            effects.push(Effect::Turn(channel));
        }
    }

    fn fail(&mut self, conn: PeerId, code: ErrorCode, effects: &mut Vec<Effect>) {
        if let Some(connection) = self.connections.get(&conn) {
            connection
                .queue
                .put(&server_message(ServerKind::Error(ErrorFrame {
                    code: code as u32,
                    fatal: true,
                    detail: code.name().into(),
                    ..ErrorFrame::default()
                })));
            effects.push(Effect::Hangup(conn, CloseCode::of(code)));
        }
    }

    fn index(&self, channel: &str) -> Checked<usize> {
        self.names
            .iter()
            .position(|name| name.as_str() == channel)
            .ok_or_else(|| Violation::new("wire", format!("unknown channel {channel:?}")))
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

/// Whose mutations those of a client are: first 16 bytes of SHA-256(principal ‖ 0 ‖ client).
#[must_use]
pub fn author_of(principal: &str, client: &[u8]) -> Author {
    use sha2::Digest as _;
    let hash = sha2::Sha256::new()
        .chain_update(principal)
        .chain_update([0])
        .chain_update(client)
        .finalize();
    let mut author = [0; 16];
    author.copy_from_slice(&hash[..16]);
    Author(author)
}
