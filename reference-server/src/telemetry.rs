//! What operators see: counters, and the log on standard error.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::budget::{Budget, Kind};
use crate::connection::EndReason;
use crate::connection::http::Door;
use crate::faults::FaultCounts;
use crate::transport::Transport;

impl EncodeLabelValue for EndReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Client => "client",
            Self::Away => "away",
            Self::Broken => "broken",
            Self::Code(code) => code.name(),
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: EndReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MemoryKind {
    kind: &'static str,
}

impl EncodeLabelValue for Transport {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

impl EncodeLabelValue for Door {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Stream => "sse",
            Self::Poll => "poll",
            Self::Push => "push",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    transport: Transport,
}

/// How a request over HTTP was answered. Statuses are ours and few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HttpAnswer {
    pub(crate) door: Door,
    pub(crate) status: u16,
}

type Total = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;

/// All counters of one server. Label sets are bounded: codes, never names that clients choose.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    connections: Level,
    connects: Total,
    transport_connections: Family<By, Level>,
    transport_connects: Family<By, Total>,
    pub(crate) http_answers: Family<HttpAnswer, Total>,
    pub(crate) closes: Family<Reason, Total>,
    pub(crate) frames_in: Total,
    pub(crate) frames_out: Total,
    pub(crate) bytes_in: Total,
    pub(crate) bytes_out: Total,
    pub(crate) messages_out: Total,
    pub(crate) queue_bytes: Level,
    pub(crate) queue_refusals: Total,
    pub(crate) channels: Level,
    pub(crate) subscriptions: Level,
    pub(crate) appends: Total,
    pub(crate) append_entries: Total,
    pub(crate) conflicts: Total,
    pub(crate) broker_failures: Total,
    pub(crate) append_seconds: Histogram,
    memory: Family<MemoryKind, Level>,
    memory_max: Level,
    disk: Level,
    disk_max: Level,
    faults: FaultCounts,
}

impl Metrics {
    pub(crate) fn with_faults(faults: FaultCounts) -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::with_prefix("tidewire"),
            connections: Level::default(),
            connects: Total::default(),
            transport_connections: Family::default(),
            transport_connects: Family::default(),
            http_answers: Family::default(),
            closes: Family::default(),
            frames_in: Total::default(),
            frames_out: Total::default(),
            bytes_in: Total::default(),
            bytes_out: Total::default(),
            messages_out: Total::default(),
            queue_bytes: Level::default(),
            queue_refusals: Total::default(),
            channels: Level::default(),
            subscriptions: Level::default(),
            appends: Total::default(),
            append_entries: Total::default(),
            conflicts: Total::default(),
            broker_failures: Total::default(),
            append_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            memory: Family::default(),
            memory_max: Level::default(),
            disk: Level::default(),
            disk_max: Level::default(),
            faults,
        };
        metrics.register();
        Arc::new(metrics)
    }

    /// A connection was opened.
    pub(crate) fn opened(&self, transport: Transport) {
        self.connections.inc();
        self.transport_connections
            .get_or_create(&By { transport })
            .inc();
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, transport: Transport) {
        self.connections.dec();
        self.transport_connections
            .get_or_create(&By { transport })
            .dec();
    }

    /// A client was let in.
    pub(crate) fn let_in(&self, transport: Transport) {
        self.connects.inc();
        self.transport_connects
            .get_or_create(&By { transport })
            .inc();
    }

    /// How many are open on a transport.
    pub(crate) fn connections_by(&self, transport: Transport) -> i64 {
        self.transport_connections
            .get_or_create(&By { transport })
            .get()
    }

    /// What the budget says now.
    pub(crate) fn set_memory(&self, budget: &Budget) {
        for kind in Kind::ALL {
            let label = MemoryKind { kind: kind.name() };
            let bytes = i64::try_from(budget.used_by(kind)).unwrap_or(i64::MAX);
            self.memory.get_or_create(&label).set(bytes);
        }
        let most = i64::try_from(budget.bytes_max()).unwrap_or(i64::MAX);
        self.memory_max.set(most);
    }

    /// What the broker stores now, and how much that may be.
    pub(crate) fn set_disk(&self, bytes: u64, bytes_max: u64) {
        self.disk.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.disk_max
            .set(i64::try_from(bytes_max).unwrap_or(i64::MAX));
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "connections",
            "Open client connections",
            self.connections.clone(),
        );
        r.register(
            "connects",
            "Connections that were welcomed",
            self.connects.clone(),
        );
        r.register(
            "transport_connections",
            "Open client connections by transport",
            self.transport_connections.clone(),
        );
        r.register(
            "transport_connects",
            "Connections that were welcomed, by transport",
            self.transport_connects.clone(),
        );
        r.register(
            "http_answers",
            "Answers to requests of sessions over HTTP, by door and status",
            self.http_answers.clone(),
        );
        r.register(
            "memory_bytes",
            "What counts in memory_bytes_max, by what it is for",
            self.memory.clone(),
        );
        r.register(
            "memory_bytes_max",
            "How much all of it may be",
            self.memory_max.clone(),
        );
        r.register(
            "disk_bytes",
            "Entries and snapshots that the disk broker stores",
            self.disk.clone(),
        );
        r.register(
            "disk_bytes_max",
            "How much of them it may store",
            self.disk_max.clone(),
        );
        r.register("closes", "Ended connections by reason", self.closes.clone());
        r.register("frames_in", "Frames from clients", self.frames_in.clone());
        r.register(
            "frames_out",
            "Queue entries written to clients",
            self.frames_out.clone(),
        );
        r.register_with_unit(
            "in",
            "Payload from clients",
            Unit::Bytes,
            self.bytes_in.clone(),
        );
        r.register_with_unit(
            "out",
            "Payload to clients",
            Unit::Bytes,
            self.bytes_out.clone(),
        );
        r.register(
            "messages_out",
            "Messages to clients",
            self.messages_out.clone(),
        );
        r.register_with_unit(
            "send_queue",
            "Waiting in the send queues of all connections",
            Unit::Bytes,
            self.queue_bytes.clone(),
        );
        r.register(
            "lagged",
            "Times that a full send queue refused a message of a channel",
            self.queue_refusals.clone(),
        );
        r.register("channels", "Channels in memory", self.channels.clone());
        r.register(
            "subscriptions",
            "Subscriptions of all connections",
            self.subscriptions.clone(),
        );
        r.register("appends", "Appends to the broker", self.appends.clone());
        r.register(
            "append_entries",
            "Entries in those appends",
            self.append_entries.clone(),
        );
        r.register(
            "conflicts",
            "Appends that the broker refused because the head had moved",
            self.conflicts.clone(),
        );
        r.register(
            "broker_failures",
            "Requests that the broker failed",
            self.broker_failures.clone(),
        );
        r.register_with_unit(
            "append_duration",
            "From the request to the broker's durable answer",
            Unit::Seconds,
            self.append_seconds.clone(),
        );
        r.register(
            "faults",
            "Faults that a fault plan did on purpose, by effect",
            self.faults.clone(),
        );
    }

    /// Prometheus text.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "metrics could not be encoded");
                String::new()
            }
        }
    }
}

/// Starts the log on standard error. Called once, by the program; a library's host has its own.
pub(crate) fn start_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Fails only when the host has a subscriber already, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
