//! Every open connection, for those who must reach one: the drain, a channel's lag policy, health.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tidewire_core::wire::{Codec, Goaway, ServerKind};
use tokio::sync::watch;

use crate::channel::PeerId;
use crate::faults::Faults;
use crate::queue::{Ending, SendQueue};
use crate::telemetry::Metrics;

pub(crate) struct Connections {
    open: Mutex<HashMap<PeerId, Arc<SendQueue>>>,
    /// How many are open; what a drain waits for.
    count: watch::Sender<usize>,
    next: AtomicU64,
    limit: usize,
    /// What clients are told once the server drains.
    goaway: OnceLock<Goaway>,
    broker_answers: AtomicBool,
    metrics: Arc<Metrics>,
    faults: Faults,
}

/// As many connections are open as the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyConnections;

impl Connections {
    pub(crate) fn new(limit: usize, metrics: Arc<Metrics>, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            count: watch::Sender::new(0),
            next: AtomicU64::new(1),
            limit,
            goaway: OnceLock::new(),
            broker_answers: AtomicBool::new(true),
            metrics,
            faults,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PeerId, Arc<SendQueue>>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Registers a connection until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, codec: Codec) -> Result<Registered, TooManyConnections> {
        let mut open = self.open();
        if open.len() >= self.limit {
            return Err(TooManyConnections);
        }
        let conn = self.next_conn();
        let (metrics, faults) = (Arc::clone(&self.metrics), self.faults.clone());
        let queue = Arc::new(SendQueue::new(conn, codec, metrics, faults));
        open.insert(conn, Arc::clone(&queue));
        self.count.send_replace(open.len());
        self.metrics.connections.inc();
        Ok(Registered {
            connections: Arc::clone(self),
            queue,
        })
    }

    /// Ends one connection, if it is still open.
    pub(crate) fn end(&self, conn: PeerId, ending: Ending) {
        let queue = self.open().get(&conn).cloned();
        if let Some(queue) = queue {
            queue.end(ending);
        }
    }

    /// Every connection that is open now.
    pub(crate) fn all(&self) -> Vec<Arc<SendQueue>> {
        self.open().values().cloned().collect()
    }

    /// An id for someone who is no connection but must be told apart from all of them.
    pub(crate) fn next_conn(&self) -> PeerId {
        PeerId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
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
        for queue in self.all().iter().filter(|queue| queue.is_welcomed()) {
            queue.send(ServerKind::Goaway(goaway.clone()));
        }
    }

    /// A client was let in. Told twice to leave is harmless, never told is not.
    pub(crate) fn welcome(&self, queue: &SendQueue) {
        queue.set_welcomed();
        if let Some(goaway) = self.goaway.get() {
            queue.send(ServerKind::Goaway(goaway.clone()));
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.goaway.get().is_some()
    }

    /// Whether the broker's last answer was one.
    pub(crate) fn note_broker(&self, answers: bool) {
        self.broker_answers.store(answers, Ordering::Relaxed);
    }

    pub(crate) fn broker_answers(&self) -> bool {
        self.broker_answers.load(Ordering::Relaxed)
    }
}

/// An open connection's place; leaves it when dropped.
pub(crate) struct Registered {
    connections: Arc<Connections>,
    pub(crate) queue: Arc<SendQueue>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.remove(&self.queue.conn());
        self.connections.count.send_replace(open.len());
        self.connections.metrics.connections.dec();
    }
}
