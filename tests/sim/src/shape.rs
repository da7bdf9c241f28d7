//! What a seed's world looks like: how many of everything, how fast, how small the bounds.

use std::time::Duration;

use fastrand::Rng;
use tidewire_core::TransportKind;
use tidewire_server::channel::{ChannelConfig, Lag};
use tidewire_server::connection::{ConnectionConfig, QueueLimits};

use crate::words::claims::keys;

use crate::draw::Draw as _;

/// The constants of one run.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many clients.
    pub clients: usize,
    /// How many channels.
    pub channels: usize,
    /// How many nodes on the one broker.
    pub nodes: usize,
    /// Over what clients reach them, the best first.
    pub transports: Vec<TransportKind>,
    /// How long faults strike, in virtual time.
    pub faulty_ms: u64,
    /// How long faults go on after applications have fallen silent.
    pub quiet_ms: u64,
    /// How many mutations there must have been at least when they stop.
    pub mutations_min: u64,
    /// Time between two acts of a client, at most.
    pub act_ms: u64,
    /// Whether applications sometimes make hundreds of mutations at once.
    pub has_bursts: bool,
    /// Travel time over links.
    pub link_ms: (u64, u64),
    /// Whether messages of a living link arrive, once and in order, as on a WebSocket.
    pub links_keep_order: bool,
    /// Time that a broker request and its answer take each.
    pub broker_ms: (u64, u64),
    /// Whether the broker tells what became of an append only when it is read back.
    pub broker_is_read_back: bool,
    /// Time that the outbox's store takes; `None`: it answers before the next poll, as memory does.
    pub store_ms: Option<u64>,
    /// Whether several clients may share a store.
    pub tabs: bool,
    /// How long a node collects inputs of a channel before it handles them.
    pub turn_ms: u64,
    /// The heartbeat interval that nodes announce.
    pub heartbeat_ms: u64,
    /// How long tokens are good; `None`: for ever.
    pub token_ms: Option<u64>,
    /// How long mutations may live, and how much longer table rows do; `None`: as usual, which is longer
    /// than any run.
    pub lifetime_ms: Option<(u64, u64)>,
    /// Bytes that a connection's queue holds.
    pub outlet_bytes: usize,
    /// Messages that it holds.
    pub outlet_messages: usize,
    /// Bytes of the server's own that it takes beyond those.
    pub reserve_bytes: usize,
    /// Inputs that a channel's inbox holds.
    pub inbox_max: usize,
    /// Heads that a heartbeat names: so many that moved, and so many others in turn.
    pub heads_max: (usize, usize),
    /// How long the application looks at a token.
    pub auth_ms: (u64, u64),
    /// Bytes that a node's socket holds.
    pub socket_bytes: usize,
    /// Bytes of text in each initial record.
    pub bulk_bytes: usize,
    /// Whether a channel that nobody uses is dropped from a node's memory.
    pub drops_idle_channels: bool,
    /// Whether stores are deleted. Whoever comes back with a new one is another author.
    pub stores_deleted: bool,
    /// Whether faults strike at the moments that rules exist for; see `awkward.rs`.
    pub is_awkward: bool,
    /// Most mutations that a client's outbox holds.
    pub outbox_rows: usize,
    /// Settings of every channel.
    pub channel: ChannelConfig,
}

impl Shape {
    /// Draws a seed's shape.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let lag = [Lag::Resync, Lag::Conflate, Lag::Close][rng.index(0..3)];
        let bulk_bytes = if rng.u8(0..6) == 0 {
            rng.index(1_000..30_000)
        } else {
            0
        };
        let mut shape = Self {
            clients: rng.index(2..=5),
            channels: rng.index(1..=3),
            nodes: rng.index(1..=2),
            transports: vec![TransportKind::WebSocket],
            faulty_ms: rng.u64(40_000..120_000),
            quiet_ms: [0, 3_000, 20_000][rng.index(0..3)],
            mutations_min: 60,
            act_ms: rng.u64(300..3_000),
            // A socket that holds little over a link that takes long is a slow reader all the time.
            link_ms: [(0, 1), (1, 20), (20, 200), (1, 1_500)]
                [rng.index(0..if lag == Lag::Close { 3 } else { 4 })],
            links_keep_order: rng.bool(),
            broker_ms: [(0, 0), (0, 3), (1, 50), (5, 400)][rng.index(0..4)],
            broker_is_read_back: false,
            store_ms: [None, None, Some(3), Some(200)][rng.index(0..4)],
            tabs: false,
            turn_ms: [0, 1, 10][rng.index(0..3)],
            heartbeat_ms: [25_000, 25_000, 5_000, 2_000][rng.index(0..4)],
            token_ms: [None, None, Some(12_000), Some(25_000)][rng.index(0..4)],
            lifetime_ms: [None, None, None, Some((20_000, 10_000))][rng.index(0..4)],
            // Where lagging means being closed, a tiny queue and a burst of somebody else would close
            // everybody over and over: slow readers are meant, not the speed of light.
            has_bursts: lag != Lag::Close,
            outlet_bytes: if lag == Lag::Close {
                [20_000, 256 * 1024][usize::from(bulk_bytes > 0 || rng.bool())]
            } else {
                [2_000, 20_000, 256 * 1024][rng.index(0..3)]
            },
            outlet_messages: [4096, 4096, 30][rng.index(0..3)],
            reserve_bytes: [64 * 1024, 64 * 1024, 12_000][rng.index(0..3)],
            inbox_max: [1024, 1024, 2][rng.index(0..3)],
            heads_max: [(256, 16), (1, 1)][rng.index(0..2)],
            auth_ms: [(0, 0), (0, 5), (50, 2_500)][rng.index(0..3)],
            socket_bytes: if lag == Lag::Close {
                8_000
            } else {
                [1_000, 64 * 1024][rng.index(0..2)]
            },
            bulk_bytes,
            drops_idle_channels: rng.bool(),
            outbox_rows: [20, 10_000, 10_000][rng.index(0..3)],
            stores_deleted: true,
            is_awkward: false,
            channel: ChannelConfig {
                history: [3, 20, 200, 2_000][rng.index(0..4)],
                snapshot_entries: [4, 20, 1_000][rng.index(0..3)],
                lag,
                peers_max: if rng.u8(0..8) == 0 { 2 } else { 1_000 },
                claim_period: Duration::from_secs([20, 3600][rng.index(0..2)]),
                epoch_keys: keys(),
                ..ChannelConfig::default()
            },
        };
        // A snapshot of several parts, so that something can come between them. Not drawn: seeds that once
        // failed keep their worlds.
        shape.channel.snapshot_part_bytes = match shape.channel.history {
            3 => 200,
            200 => 1_000,
            _ => shape.channel.snapshot_part_bytes,
        };
        // Not drawn either: four sevenths of the worlds know HTTP.
        let http = [TransportKind::Sse, TransportKind::LongPoll];
        match shape.faulty_ms % 7 {
            0..3 => {}
            3 | 4 => shape.transports.extend(http),
            5 => shape.transports = http.into(),
            _ => shape.transports = vec![TransportKind::LongPoll],
        }
        if shape.speaks_http() {
            // Over polls that are not held a word takes three seconds more, either way: as for slow links below.
            shape.token_ms = shape.token_ms.map(|_| 80_000);
            if shape.link_ms.1 > 500 {
                // Every second heartbeat is answered, once the POST before is.
                shape.heartbeat_ms = shape.heartbeat_ms.max(5_000);
            }
        }
        // Not drawn either: a quarter of the worlds.
        shape.tabs = shape.faulty_ms.is_multiple_of(4);
        // Not drawn either: an eighth of the worlds.
        shape.broker_is_read_back = shape.channel.history == 20 && shape.drops_idle_channels;
        // Room for the rows of so many clients and hardly a rejection; they must not become more. Not drawn either.
        if shape.channel.history == 3 && shape.channel.snapshot_entries == 4 {
            shape.channel.table_bytes_max = shape.clients * 160 + 200;
            shape.stores_deleted = false;
        }
        // A token may be renewed as late as after 95 % of its life, and the frame has to get there in time. What the
        // client knows of the server's clock is late by a way of its own.
        if shape.link_ms.1 > 500 {
            shape.token_ms = shape.token_ms.map(|_| 80_000);
        }
        if let Some((ttl, retention)) = shape.lifetime_ms {
            // Hundreds of mutations take longer than they live.
            shape.has_bursts = false;
            shape.channel.ttl_max = Duration::from_millis(ttl);
            shape.channel.retention = Duration::from_millis(retention);
        }
        shape
    }

    /// Whether clients know sessions over HTTP.
    #[must_use]
    pub fn speaks_http(&self) -> bool {
        self.transports != [TransportKind::WebSocket]
    }

    /// The numbers of every connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionConfig {
        let heartbeat = Duration::from_millis(self.heartbeat_ms);
        ConnectionConfig {
            heartbeat,
            silence: 3 * heartbeat,
            heads_moved_max: self.heads_max.0,
            heads_others_max: self.heads_max.1,
            ..ConnectionConfig::default()
        }
    }

    /// The bounds of every connection's queue.
    #[must_use]
    pub fn queue(&self) -> QueueLimits {
        QueueLimits {
            messages_max: self.outlet_messages,
            bytes_max: self.outlet_bytes,
            // One message of any size may be in, and the server still has its say.
            reserve_bytes: self.reserve_bytes + 2 * self.bulk_bytes,
            join_bytes_max: self.socket_bytes,
            ..QueueLimits::default()
        }
    }

    /// A small, quick and friendly world, for scenarios.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            clients: 2,
            channels: 1,
            nodes: 1,
            transports: vec![TransportKind::WebSocket],
            faulty_ms: 0,
            quiet_ms: 0,
            mutations_min: 0,
            act_ms: 1_000,
            has_bursts: false,
            link_ms: (5, 5),
            links_keep_order: true,
            broker_ms: (1, 1),
            broker_is_read_back: false,
            store_ms: None,
            tabs: false,
            turn_ms: 0,
            heartbeat_ms: 25_000,
            token_ms: None,
            lifetime_ms: None,
            outlet_bytes: 256 * 1024,
            outlet_messages: 4096,
            reserve_bytes: 64 * 1024,
            inbox_max: 1024,
            heads_max: (256, 16),
            auth_ms: (0, 0),
            socket_bytes: 64 * 1024,
            bulk_bytes: 0,
            drops_idle_channels: false,
            outbox_rows: 10_000,
            stores_deleted: true,
            is_awkward: false,
            channel: ChannelConfig {
                broker_timeout: Duration::from_secs(5),
                epoch_keys: keys(),
                ..ChannelConfig::default()
            },
        }
    }
}
