//! The server's side of one channel, sans-IO: time, frames and broker replies in; broker requests out.
//!
//! SKELETON: the seam between the channel logic, the network half and the simulator. The types and
//! signatures here are agreed; bodies and private parts are being written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Record, Rejection};
use tidewire_core::time::{MonoTime, Now};
use tidewire_core::wire::{Change, Cursor, ErrorCode, Limits, Push};

use crate::broker::{BrokerReply, BrokerRequest};

/// One connection, as the channel knows it. Never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// First 16 bytes of SHA-256(principal ‖ 0 ‖ client): whose mutations these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author(pub [u8; 16]);

/// The bounded way to one connection. The channel hands it ready-made messages and never waits.
pub trait Outlet: Send + Sync {
    /// Takes one encoded message (concatenable `Frames`) whole, or refuses it when the queue has no room.
    /// After a refusal the owner calls the channel with [`ChannelInput::Drained`] once there is room again.
    fn try_send(&self, message: &Bytes) -> Result<(), OutletFull>;
}

/// The queue to a connection has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutletFull;

/// Who subscribes, and where answers go.
#[derive(Clone)]
pub struct Subscriber {
    /// The connection.
    pub conn: ConnId,
    /// The principal's name.
    pub principal: Arc<str>,
    /// Whose mutations its pushes are.
    pub author: Author,
    /// Where frames go.
    pub outlet: Arc<dyn Outlet>,
}

/// What the world tells a channel. Read and write grants were checked by the caller.
pub enum ChannelInput {
    /// `subscribe`. Again from the same connection: the stream starts anew at `have`.
    Subscribe {
        /// Who.
        subscriber: Subscriber,
        /// What it has.
        have: Option<Cursor>,
        /// The highest epoch that its store has seen.
        max_epoch: u64,
    },
    /// `unsubscribe`, or the connection is gone. Ends its presence too.
    Unsubscribe {
        /// Who.
        conn: ConnId,
    },
    /// `push`. From a connection that has not subscribed it is answered all the same, through `subscriber`.
    Push {
        /// Who.
        subscriber: Subscriber,
        /// Whether it may write: without the grant only duplicates are acked.
        writable: bool,
        /// What.
        push: Push,
    },
    /// `presence_set`.
    SetPresence {
        /// Who; must have subscribed.
        conn: ConnId,
        /// JSON text, or gone.
        data: Option<Bytes>,
    },
    /// The connection's queue has room again.
    Drained {
        /// Whose.
        conn: ConnId,
    },
    /// The admin door deletes the channel.
    Delete,
    /// The answer to a [`ChannelOutput::Broker`].
    Broker(BrokerReply),
    /// The broker's watch says that the log may have grown.
    Woken,
    /// The time that [`ChannelOutput::Wait`] named has come.
    Timeout,
}

/// What a channel asks for.
#[must_use]
#[derive(Debug)]
pub enum ChannelOutput {
    /// Talk to the broker; never two at a time.
    Broker(BrokerRequest),
    /// The lag policy says: close this connection with `slow_consumer`.
    Close {
        /// Which.
        conn: ConnId,
        /// With which code.
        code: ErrorCode,
    },
    /// Nothing to do until an input or this moment.
    Wait(Option<MonoTime>),
}

/// What an application decides about a channel's contents.
pub trait Policy: Send + Sync {
    /// The records that a new channel starts with.
    fn initial(&self, channel: &ChannelName) -> Document;

    /// Called for every change before it is applied; an error rejects the whole mutation.
    fn validate(
        &self,
        channel: &ChannelName,
        view: &View<'_>,
        principal: &str,
        change: &Change,
    ) -> Result<(), Rejection>;
}

/// The state that a change meets: the log plus what was accepted before it in the same turn and mutation.
pub struct View<'a> {
    lookup: &'a dyn Fn(&str, &str) -> Option<Record>,
}

impl View<'_> {
    /// A record, if it exists.
    #[must_use]
    pub fn record(&self, collection: &str, id: &str) -> Option<Record> {
        (self.lookup)(collection, id)
    }
}

/// What a slow reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// Skip to the latest state in one squashed patch once there is room.
    Conflate,
    /// Drop, then say `lagged`; the client subscribes again.
    Resync,
    /// Close the connection with `slow_consumer`.
    Close,
}

/// Settings of one channel, from its namespace.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// Entries kept for resume, below the newest snapshot.
    pub history: usize,
    /// What a slow reader meets.
    pub lag: Lag,
    /// Limits of records and mutations.
    pub limits: Limits,
    /// A snapshot is cut after this many entries ...
    pub snapshot_entries: usize,
    /// ... or this many bytes of them.
    pub snapshot_bytes: usize,
    /// Most peers that can be present at a time.
    pub peers_max: usize,
    /// How long a broker may take before waiting pushes are told `hold`.
    pub broker_timeout: Duration,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            history: 2000,
            lag: Lag::Resync,
            limits: Limits::DEFAULT,
            snapshot_entries: 1000,
            snapshot_bytes: 1024 * 1024,
            peers_max: 1000,
            broker_timeout: Duration::from_secs(5),
        }
    }
}

/// One channel on one node.
pub struct Channel {
    _private: (),
}

impl Channel {
    /// Nothing is read before the first input that needs it. `seed` gives new epochs their random bits.
    #[must_use]
    pub fn new(_name: ChannelName, _config: ChannelConfig, _policy: Arc<dyn Policy>, _seed: u64) -> Self {
        unimplemented!()
    }

    /// Takes one fact. Infallible: a misbehaving client is answered with an error frame.
    pub fn handle_input(&mut self, _now: Now, _input: ChannelInput) {
        unimplemented!()
    }

    /// The next thing to do. Poll until `Wait`. A driver may feed all inputs that are ready before it
    /// polls: everything pushed meanwhile becomes one append and one patch.
    pub fn poll_output(&mut self) -> ChannelOutput {
        unimplemented!()
    }

    /// The head of the log that this node has folded; what heartbeats carry.
    #[must_use]
    pub fn head(&self) -> Cursor {
        unimplemented!()
    }

    /// Whether anyone is subscribed or anything is under way; if not, a driver may drop the channel.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }
}
