//! Faults at the very moments that rules exist for: by chance they would meet once in thousands of worlds.
//!
//! Only worlds that are awkward by their shape have them.

use crate::app::Act;
use crate::draw::Draw as _;
use crate::faults::Fault;
use crate::world::{Event, World};

impl World {
    /// A client's channels ask on its next link: the log changes its line before they are answered.
    pub(crate) fn on_ask(&mut self) {
        if self.shape.is_awkward {
            let faults = [
                Fault::BrokerTailLost,
                Fault::BrokerCrashKept,
                Fault::ChannelDeleted,
            ];
            let fault = faults[self.rng.index(0..faults.len())];
            let after = self
                .rng
                .u64(0..=2 * (self.shape.link_ms.1 + self.shape.broker_ms.1));
            self.after(after, Event::StrikesOnce { fault });
        }
    }

    /// An append fails and comes late: somebody may not write any more when it is tried again.
    pub(crate) fn on_late_append(&mut self, channel: usize) {
        if self.shape.is_awkward && !self.faults.is_frozen() {
            let client = self.rng.index(0..self.clients.len());
            self.deny_writing_for_a_while(client, channel);
        }
    }

    /// An application pauses a channel: it wants it again before the server has answered.
    pub(crate) fn on_act(&mut self, client: usize, act: &Act) {
        if self.shape.is_awkward
            && let Act::Pause(channel) | Act::Unsubscribe(channel) = *act
        {
            let after = self.rng.u64(0..=2 * self.shape.link_ms.1);
            self.after(after, Event::WantsAgain { client, channel });
        }
    }
}
