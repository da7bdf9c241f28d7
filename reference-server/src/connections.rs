//! Every open connection, for those who must reach one: the drain, a channel's lag policy, health.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tidewire_core::wire::{Codec, Goaway};
use tokio::sync::watch;

use crate::channel::PeerId;
use crate::config::Config;
use crate::connection::{Ending, QueueCounts, QueueLimits};
use crate::driver::Peer;
use crate::health::Health;
use crate::telemetry::Metrics;
use crate::transport::Transport;

pub(crate) struct Connections {
    open: Mutex<HashMap<PeerId, Arc<Peer>>>,
    /// How many are open; what a drain waits for.
    count: watch::Sender<usize>,
    next: AtomicU64,
    limit: usize,
    /// What clients are told once the server drains.
    goaway: OnceLock<Goaway>,
    pub(crate) health: Health,
    queue_limits: Arc<QueueLimits>,
    metrics: Arc<Metrics>,
}

/// As many connections are open as the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyConnections;

impl Connections {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            count: watch::Sender::new(0),
            next: AtomicU64::new(1),
            limit: config.connections_max,
            goaway: OnceLock::new(),
            health: Health::default(),
            queue_limits: Arc::new(config.queue()),
            metrics,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PeerId, Arc<Peer>>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Registers a connection until the guard is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        codec: Codec,
        transport: Transport,
    ) -> Result<Registered, TooManyConnections> {
        let mut open = self.open();
        if open.len() >= self.limit {
            return Err(TooManyConnections);
        }
        let conn = self.next_conn();
        let peer = Peer::new(conn, codec, Arc::clone(&self.queue_limits));
        open.insert(conn, Arc::clone(&peer));
        self.count.send_replace(open.len());
        self.metrics.opened(transport);
        Ok(Registered {
            connections: Arc::clone(self),
            peer,
            transport,
        })
    }

    /// The queue of somebody who is no connection: of one request.
    pub(crate) fn stranger(&self, codec: Codec) -> Arc<Peer> {
        Peer::new(self.next_conn(), codec, Arc::clone(&self.queue_limits))
    }

    /// Ends one connection, if it is still open.
    pub(crate) fn end(&self, conn: PeerId, ending: Ending) {
        let peer = self.open().get(&conn).cloned();
        if let Some(peer) = peer {
            peer.end(ending);
        }
    }

    /// Every connection that is open now.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.open().values().cloned().collect()
    }

    /// An id for someone who is no connection but must be told apart from all of them.
    pub(crate) fn next_conn(&self) -> PeerId {
        PeerId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn open_count(&self) -> usize {
        *self.count.borrow()
    }

    /// Bytes that wait for clients; those that channels share count for each of them.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.all().iter().map(|peer| peer.queued_bytes()).sum()
    }

    /// Waits until nobody is connected.
    pub(crate) async fn empty(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Asks everyone to leave, now and whenever someone still comes in.
    pub(crate) fn start_draining(&self, goaway: Goaway) {
        let goaway = self.goaway.get_or_init(|| goaway);
        self.health.drain();
        for peer in self.all() {
            peer.ask_to_leave(goaway.clone());
        }
    }

    /// Whether everyone is asked to leave.
    pub(crate) fn is_draining(&self) -> bool {
        self.goaway.get().is_some()
    }

    /// A new connection listens. Told twice to leave is harmless, never told is not.
    pub(crate) fn listening(&self, peer: &Peer) {
        if let Some(goaway) = self.goaway.get() {
            peer.ask_to_leave(goaway.clone());
        }
    }

    /// Adds what went through the send queues to the metrics. Queues count for themselves, since a counter
    /// that every message of every connection moves costs more than the message's way through its queue.
    pub(crate) fn count(&self) {
        let mut bytes = 0;
        for peer in self.all() {
            bytes += peer.queued_bytes();
            self.add(peer.take_counts());
        }
        self.metrics.queue_bytes.set(bytes as i64);
    }

    fn add(&self, counts: QueueCounts) {
        let metrics = &self.metrics;
        metrics.frames_out.inc_by(counts.frames);
        metrics.messages_out.inc_by(counts.messages);
        metrics.bytes_out.inc_by(counts.bytes);
        metrics.queue_refusals.inc_by(counts.refusals);
    }
}

/// An open connection's place; leaves it when dropped.
pub(crate) struct Registered {
    connections: Arc<Connections>,
    pub(crate) peer: Arc<Peer>,
    transport: Transport,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.remove(&self.peer.id());
        self.connections.count.send_replace(open.len());
        drop(open);
        self.connections.add(self.peer.take_counts());
        self.connections.metrics.closed(self.transport);
    }
}
