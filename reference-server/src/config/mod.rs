//! What a server is told before it starts.
//!
//! [`Config`] holds only values that make sense together. [`Settings`] is the step before: raw values,
//! each with the source it came from; `print-config` shows those without judging them.

mod flags;
mod keys;
pub(crate) mod names;
pub(crate) mod origin;
mod parse;
mod sources;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tidewire_core::wire::Limits;

#[cfg(feature = "net")]
use crate::channel::ChannelConfig;
use crate::channel::Lag;
use crate::epoch_key::EpochKey;

#[cfg(feature = "net")]
pub(crate) use flags::Flags;
pub use parse::{ConfigError, Problem};
#[cfg(feature = "net")]
pub(crate) use sources::unknown_env;
pub use sources::{LoadError, Overrides, Setting, Settings, Source};

/// Settings of a [`crate::Server`]. Each default has its reason in docs/defaults.md.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where clients come in; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where metrics and the admin door are; `None` = nowhere.
    pub admin: Option<SocketAddr>,
    /// What keeps the logs.
    pub broker: BrokerKind,
    /// Where the disk broker keeps them.
    pub data_dir: PathBuf,
    /// Whether the token `dev:NAME` is accepted. Only on a loopback address.
    pub dev_auth: bool,
    /// Origins of pages that may connect, besides the server's own; compared exactly.
    pub allow_origin: Vec<String>,
    /// How long a drain waits for clients to leave.
    pub drain_grace: Duration,
    /// Most connections at a time; further ones are answered 503.
    pub connections_max: usize,
    /// Most channels in memory at a time, with the memory broker most channels at all; clients that need
    /// a further one are told `overloaded`.
    pub channels_max: usize,
    /// Which log lines are written, in the syntax of `RUST_LOG`.
    pub log: String,
    /// Rules of the channels by namespace; `"*"` is for every namespace that is not named.
    pub namespaces: BTreeMap<String, Namespace>,
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
    /// JSON Schema file of a collection's records, by collection.
    pub schemas: BTreeMap<String, PathBuf>,
}

/// How a channel comes to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// With its first authorised subscribe or push.
    OnUse,
    /// Over the admin door only.
    Admin,
}

/// How long things may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From accept, and from the end of the last request, to a complete request header.
    pub header: Duration,
    /// From the upgrade to `hello`.
    pub hello: Duration,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            admin: None,
            broker: BrokerKind::Memory,
            data_dir: PathBuf::from("./tidewire-data"),
            dev_auth: false,
            allow_origin: Vec::new(),
            drain_grace: Duration::from_secs(45),
            connections_max: 10_000,
            channels_max: 100_000,
            log: "info".into(),
            namespaces: BTreeMap::from([("*".into(), Namespace::default())]),
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

    /// Settings of a channel that follows `namespace`.
    #[cfg(feature = "net")]
    pub(crate) fn channel(&self, namespace: &Namespace) -> ChannelConfig {
        ChannelConfig {
            history: namespace.history,
            lag: namespace.lag,
            limits: self.limits,
            epoch_keys: self.epoch_keys.as_slice().into(),
            ..ChannelConfig::default()
        }
    }
}

#[cfg(test)]
mod tests;
