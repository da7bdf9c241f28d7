//! What a node says of itself to those who send clients to nodes.

use std::sync::atomic::{AtomicBool, Ordering};

use tidewire_core::planted;

/// Whether new clients should be sent to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They should.
    Ready,
    /// It is about to end.
    Draining,
    /// The broker's last answer to it was none. Somebody has to ask, or it stays so.
    BrokerSilent,
}

/// What a node knows of itself. Any part of it may tell, at any time.
#[derive(Debug, Default)]
pub struct Health {
    drains: AtomicBool,
    is_broker_silent: AtomicBool,
}

impl Health {
    /// The node will end.
    pub fn drain(&self) {
        self.drains.store(true, Ordering::Relaxed);
    }

    /// Whether it will.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drains.load(Ordering::Relaxed)
    }

    /// The broker answered, or failed to.
    pub fn note(&self, answers: bool) {
        if answers || !planted!(BrokerSilenceUntold) {
            self.is_broker_silent.store(!answers, Ordering::Relaxed);
        }
    }

    /// What to tell. The last answer of the broker counts.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.is_draining() && !planted!(ReadyWhileDraining) {
            Readiness::Draining
        } else if self.is_broker_silent.load(Ordering::Relaxed) {
            Readiness::BrokerSilent
        } else {
            Readiness::Ready
        }
    }
}
