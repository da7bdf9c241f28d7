//! What a server is told before it starts.
//!
//! [`Config`] holds only values that make sense together. [`Settings`] is the step before: raw values,
//! each with the source it came from; `print-config` shows those without judging them.

mod api_key;
mod bounds;
mod cidr;
mod flags;
mod key;
mod keys;
mod masked;
pub(crate) mod names;
pub(crate) mod origin;
mod parse;
mod sources;
mod values;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tidewire_core::wire::Limits;

#[cfg(feature = "net")]
use crate::channel::ChannelConfig;
use crate::channel::Lag;
#[cfg(feature = "net")]
use crate::connection::{ConnectionConfig, Fallback, QueueLimits};
use crate::epoch_key::EpochKey;

pub use api_key::{ApiKey, ApiRight, ApiSecret};
pub use bounds::Bounds;
pub use cidr::{Cidr, CidrError};
#[cfg(feature = "net")]
pub(crate) use flags::Flags;
pub use parse::{ConfigError, Problem};
pub use sources::{LoadError, Overrides, Setting, Settings, Source};
#[cfg(feature = "net")]
pub(crate) use sources::{dotted, unknown_env};

/// Settings of a [`crate::Server`]. Each default has its reason in docs/defaults.md.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where clients come in; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where metrics and the admin door are; `None` = nowhere. Not on a loopback address: only with a key.
    pub admin: Option<SocketAddr>,
    /// Names of hosts, besides loopback ones, by which the admin door may be reached.
    pub admin_hosts: Vec<String>,
    /// Whether `/metrics` on the admin door needs no key.
    pub admin_open_metrics: bool,
    /// Who may use the admin door. Empty: whoever reaches it.
    pub api_keys: Vec<ApiKey>,
    /// What keeps the logs.
    pub broker: BrokerKind,
    /// Where the disk broker keeps them.
    pub data_dir: PathBuf,
    /// Whether the token `dev:NAME` is accepted, where the application has no `authenticate`. Only from
    /// this machine.
    pub dev_auth: bool,
    /// Whether the admin door takes fault plans; with `dev_auth` it always does.
    pub faults: bool,
    /// Origins of pages that may connect, besides the server's own; compared exactly.
    pub allow_origin: Vec<String>,
    /// How long a drain waits for clients to leave.
    pub drain_grace: Duration,
    /// Whether clients that cannot have a WebSocket may use HTTP: streams of events, long polls, POSTs.
    pub enable_http_fallback: bool,
    /// Between two polls of a client that has no place for a held one, as `welcome` tells it.
    pub fallback_poll_interval: Duration,
    /// Most connections at a time; further ones are answered 503.
    pub connections_max: usize,
    /// Most connections at a time from one address (of IPv6: from one /64); further ones are answered 429.
    pub connections_per_address: usize,
    /// Most connections at a time whose token was not accepted yet; further ones are answered 503.
    pub connections_unauthenticated_max: usize,
    /// How long a peer stays whose last connection broke: another one of its session may come.
    pub presence_grace: Duration,
    /// Proxies whose `X-Forwarded-For` says who came to them: the client's address is the last one there
    /// that is not in these ranges.
    pub trusted_proxies: Vec<Cidr>,
    /// How fast clients may talk.
    pub rates: Rates,
    /// Most channels that the disk broker keeps; clients that need a further one are told `overloaded`.
    pub disk_channels_max: u64,
    /// Most bytes of entries and snapshots that the disk broker keeps; at it pushes are told `hold`.
    pub disk_bytes_max: u64,
    /// Most bytes that logs, documents, tables, queues and waiting pushes take together; at it pushes are
    /// told `hold`. Zero: half of what the machine or its control group has.
    pub memory_bytes_max: u64,
    /// From this part of it on, new connections are answered 503 and new channels `overloaded`.
    pub backpressure_threshold: f64,
    /// Most channels in memory at a time, with the memory broker most channels at all; clients that need
    /// a further one are told `overloaded`.
    pub channels_max: usize,
    /// Which log lines are written, in the syntax of `RUST_LOG`.
    pub log: String,
    /// Rules of the channels by namespace; `"*"` is for every namespace that is not named.
    pub namespaces: BTreeMap<String, Namespace>,
    /// How much of everything there may be.
    pub bounds: Bounds,
    /// What `welcome` tells clients. `frame_up_bytes` is in the file, the others belong to the protocol.
    pub limits: Limits,
    /// What claims of epochs are proven with: the first key signs, all of them verify. Empty: a random
    /// one, kept beside the data of the disk broker, else for this process.
    pub epoch_keys: Vec<EpochKey>,
    /// How long things may take. The heartbeat is in the file, the others belong to the protocol.
    pub timeouts: Timeouts,
}

/// What keeps the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerKind {
    /// Gone when the process ends.
    Memory,
    /// A directory of its own, locked by one server.
    Disk,
}

/// Rules of the channels of one namespace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Namespace {
    /// Entries kept for resume, below the newest snapshot.
    pub history: usize,
    /// What a slow reader meets.
    pub lag: Lag,
    /// How a channel comes to exist.
    pub create: Create,
    /// [`Config::presence_grace`] in this namespace, if it is another one.
    pub presence_grace: Option<Duration>,
    /// JSON Schema file of a collection's records, by collection.
    pub schemas: BTreeMap<String, PathBuf>,
}

pub use crate::connection::Create;
pub use crate::limit::Rate;

/// How long things may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From accept, and from the end of the last request, to a complete request header.
    pub header: Duration,
    /// From the upgrade to `hello`.
    pub hello: Duration,
    /// For the body of a request; a slower one is answered 408.
    pub body: Duration,
    /// How long a poll may be held, if a heartbeat is not sooner.
    pub poll_hold: Duration,
    /// For the application's `authenticate`.
    pub authenticate: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Silence of a client after which its link is taken for dead.
    pub silence: Duration,
    /// For one write to a client.
    pub write: Duration,
    /// How long a channel that nobody uses stays in memory.
    pub linger: Duration,
    /// Inside which clients are asked to leave when the server drains.
    pub goaway_window: Duration,
}

/// How fast clients may talk: over it the server reads them more slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// One connection.
    pub connection: Rate,
    /// All connections of one address together.
    pub address: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            connection: Rate::new(1000, 4000),
            address: Rate::new(0, 4000),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            admin: None,
            admin_hosts: Vec::new(),
            admin_open_metrics: false,
            api_keys: Vec::new(),
            broker: BrokerKind::Memory,
            data_dir: PathBuf::from("./tidewire-data"),
            dev_auth: false,
            faults: false,
            allow_origin: Vec::new(),
            drain_grace: Duration::from_secs(45),
            enable_http_fallback: true,
            fallback_poll_interval: Duration::from_secs(3),
            connections_max: 15_000,
            connections_per_address: 1000,
            presence_grace: Duration::from_secs(5),
            connections_unauthenticated_max: 4000,
            trusted_proxies: Vec::new(),
            rates: Rates::default(),
            disk_channels_max: 100_000,
            disk_bytes_max: 10 << 30,
            memory_bytes_max: 0,
            backpressure_threshold: 0.85,
            channels_max: 100_000,
            log: "info".into(),
            namespaces: BTreeMap::from([("*".into(), Namespace::default())]),
            bounds: Bounds::default(),
            limits: Limits::DEFAULT,
            epoch_keys: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            history: 2000,
            lag: Lag::Resync,
            presence_grace: None,
            create: Create::OnUse,
            schemas: BTreeMap::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            hello: Duration::from_secs(5),
            body: Duration::from_secs(10),
            poll_hold: Duration::from_secs(25),
            authenticate: Duration::from_secs(10),
            heartbeat: Duration::from_secs(25),
            silence: Duration::from_secs(75),
            write: Duration::from_secs(20),
            linger: Duration::from_secs(10),
            goaway_window: Duration::from_secs(2),
        }
    }
}

impl Timeouts {
    /// Sets the time between heartbeats; a client is dead after the silence of three.
    pub fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.heartbeat = heartbeat;
        self.silence = 3 * heartbeat;
    }
}

impl Config {
    /// The rules for a namespace: its own, else those of `"*"`, else none: the namespace is unknown.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces
            .get(name)
            .or_else(|| self.namespaces.get("*"))
    }

    /// Settings of every connection.
    #[cfg(feature = "net")]
    pub(crate) fn connection(&self, home: u32) -> ConnectionConfig {
        ConnectionConfig {
            fallback: self.enable_http_fallback.then_some(Fallback {
                home,
                poll: self.fallback_poll_interval,
            }),
            limits: self.limits,
            hello: self.timeouts.hello,
            heartbeat: self.timeouts.heartbeat,
            silence: self.timeouts.silence,
            token_bytes_max: self.bounds.token_bytes,
            refresh: Duration::from_millis(self.bounds.refresh_ms as u64),
            refresh_burst: u32::try_from(self.bounds.refreshes).unwrap_or(u32::MAX),
            frames_per_message_max: self.bounds.frames_per_message,
            frames_per_second: self.rates.connection.per_s,
            frames_burst: self.rates.connection.burst,
            ..ConnectionConfig::default()
        }
    }

    /// Bounds of every send queue.
    #[cfg(feature = "net")]
    pub(crate) fn queue(&self) -> QueueLimits {
        QueueLimits {
            messages_max: self.bounds.queue_messages,
            bytes_max: self.bounds.queue_bytes,
            ..QueueLimits::default()
        }
    }

    /// Settings of a channel that follows `namespace`.
    #[cfg(feature = "net")]
    pub(crate) fn channel(&self, namespace: &Namespace) -> ChannelConfig {
        ChannelConfig {
            history: namespace.history,
            lag: namespace.lag,
            presence_grace: namespace.presence_grace.unwrap_or(self.presence_grace),
            limits: self.limits,
            epoch_keys: self.epoch_keys.as_slice().into(),
            document_bytes_max: self.bounds.document_bytes,
            ring_bytes_max: self.bounds.log_bytes,
            ring_ops_max: self.bounds.log_ops,
            table_bytes_max: self.bounds.table_bytes,
            pushes_max: self.bounds.pushes,
            pushes_bytes_max: self.bounds.pushes_bytes,
            peers_max: self.bounds.peers,
            peers_bytes_max: self.bounds.peers_bytes,
            ..ChannelConfig::default()
        }
    }
}

#[cfg(test)]
mod tests;
