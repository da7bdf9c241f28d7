//! Settings of one channel.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::wire::Limits;

use crate::epoch_key::EpochKey;
use crate::log::NodeId;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a slow reader meets.
///
/// A reader whose queue is full is not slow yet: it goes on from the entries in memory once there is
/// room, at no cost to anyone. It is slow when those have moved on past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// What it missed is squashed into one patch; if it was too much, as `Resync`.
    Conflate,
    /// It is told `lagged` and subscribes again.
    Resync,
    /// Its connection is closed with `slow_consumer`.
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
    /// A snapshot is stored in parts of about this many bytes, at most 512 KiB.
    pub snapshot_part_bytes: usize,
    /// Bytes of all records together; a mutation that would grow a document beyond is rejected
    /// `too_large`, one that shrinks it is not.
    pub document_bytes_max: usize,
    /// What the table of authors may cost in memory, with the rejections that it lists. Above it rejections are
    /// forgotten, reasons before codes, the oldest authors' first; then further authors are told `hold`. The
    /// same on every node, for the whole life of a log: the fold depends on it.
    pub table_bytes_max: usize,
    /// Most bytes of entries in memory; the oldest go, whoever needs them gets a snapshot.
    pub ring_bytes_max: usize,
    /// Most ops of them.
    pub ring_ops_max: usize,
    /// Most pushes that wait for an append; more are told `hold`.
    pub pushes_max: usize,
    /// Most bytes of them.
    pub pushes_bytes_max: usize,
    /// Most peers that can be present at a time.
    pub peers_max: usize,
    /// Most bytes of all their names and data.
    pub peers_bytes_max: usize,
    /// The others are told of changed presence at most once in this time; the latest of each peer counts.
    pub presence_interval: Duration,
    /// How long a peer stays whose last connection broke: another link of its session may come.
    pub presence_grace: Duration,
    /// Which node this is, among those that share the broker; `None`: it shares with nobody.
    pub node: Option<NodeId>,
    /// How long a broker may take before waiting pushes are told `hold`.
    pub broker_timeout: Duration,
    /// The furthest deadline of a mutation, from its evaluation on; later ones are cut to it. The same
    /// on every node.
    pub ttl_max: Duration,
    /// How long after its latest deadline an author's row of the table is kept, by log time. The same
    /// on every node, for the whole life of a log: the fold depends on it.
    pub retention: Duration,
    /// For claims without a proof, and for losses that a reader shows, at most one epoch is opened in this
    /// time, by the log and by each node.
    pub claim_period: Duration,
    /// What claims of epochs are proven with: the first key signs, all of them verify. The same on every
    /// node. Empty: no claim is proven.
    pub epoch_keys: Arc<[EpochKey]>,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            history: 2000,
            lag: Lag::Resync,
            limits: Limits::DEFAULT,
            snapshot_entries: 1000,
            snapshot_bytes: 1024 * 1024,
            snapshot_part_bytes: 512 * 1024,
            document_bytes_max: 128 * 1024 * 1024,
            table_bytes_max: 16 * 1024 * 1024,
            ring_bytes_max: 8 * 1024 * 1024,
            ring_ops_max: 64 * 1024,
            pushes_max: 1024,
            pushes_bytes_max: 4 * 1024 * 1024,
            peers_max: 1000,
            peers_bytes_max: 256 * 1024,
            presence_interval: Duration::from_millis(50),
            presence_grace: Duration::from_secs(5),
            node: None,
            broker_timeout: Duration::from_secs(5),
            ttl_max: 7 * DAY,
            retention: 30 * DAY,
            claim_period: Duration::from_secs(60 * 60),
            epoch_keys: Arc::default(),
        }
    }
}
