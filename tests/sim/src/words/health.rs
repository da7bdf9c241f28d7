//! Health: a node is called ready while the broker's last answer to it was one and it is not about to end.

use tidewire_server::broker::BrokerReply;
use tidewire_server::health::{Health, Readiness};

use crate::violation::{Checked, ensure};

/// What happened to one life of a node.
#[derive(Debug, Default)]
pub struct Heard {
    is_leaving: bool,
    /// The broker failed when it was last asked.
    is_broker_silent: bool,
}

impl Heard {
    /// The node was told to end.
    pub const fn on_drain(&mut self) {
        self.is_leaving = true;
    }

    /// The broker answered the node, or failed to.
    pub const fn on_reply(&mut self, reply: &BrokerReply) {
        self.is_broker_silent = matches!(reply, BrokerReply::Failed { .. });
    }

    /// A balancer asks.
    pub fn check(&self, health: &Health) -> Checked {
        let readiness = health.readiness();
        let should_be = match (self.is_leaving, self.is_broker_silent) {
            (true, _) => Readiness::Draining,
            (false, true) => Readiness::BrokerSilent,
            (false, false) => Readiness::Ready,
        };
        ensure(readiness == should_be, "health", || {
            format!("a node says {readiness:?}: {self:?}")
        })
    }
}
