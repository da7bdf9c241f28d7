//! Faults at the very moments that rules exist for: by chance they would meet once in thousands of worlds.
//!
//! Only worlds that are awkward by their shape have them.

use bytes::Bytes;
use tidewire_core::wire::{ClientKind, ServerKind, decode_client, decode_server};

use crate::app::Act;
use crate::draw::Draw as _;
use crate::faults::Fault;
use crate::link::{LinkId, Way};
use crate::violation::Checked;
use crate::world::{Event, World};

/// One in so many pushes that come again finds its sender without any right.
const RIGHTS_GO: u8 = 8;

/// One in so many channels that are asked for is let go at once.
const LETS_GO: u8 = 4;

/// Rights are away for no longer, since applications ask for what they are refused again and again.
const AWAY_MS_MAX: u64 = 6_000;

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

    /// An application lets a channel go: it wants it again before the server has answered. It asks for one: it lets it
    /// go before the server has answered.
    pub(crate) fn on_act(&mut self, client: usize, act: &Act) {
        if !self.shape.is_awkward {
            return;
        }
        let event = match *act {
            Act::Pause(channel) | Act::Unsubscribe(channel) => {
                Event::WantsAgain { client, channel }
            }
            Act::Subscribe(channel) | Act::Resume(channel)
                if !self.faults.is_frozen() && self.rng.u8(0..LETS_GO) == 0 =>
            {
                Event::LetsGo { client, channel }
            }
            _ => return,
        };
        let after = self.rng.u64(0..=2 * self.shape.link_ms.1);
        self.after(after, event);
    }

    /// A message goes down after applications have fallen silent: nothing follows that would show that it is lost,
    /// and what does show it is lost as well.
    pub(crate) fn is_lost_for_good(&mut self, way: Way, message: &Bytes) -> bool {
        let is_awkward = self.shape.is_awkward && !self.acting && way == Way::Down;
        let is_lost = is_awkward && tells_of_heads(message) && self.rng.bool();
        if is_lost {
            self.faults.count(Fault::MessageDropped);
        }
        is_lost
    }

    /// A push will come once more, so long from now: by then its sender has another link, and may do nothing.
    pub(crate) fn on_replay(&mut self, id: LinkId, message: &Bytes, after: u64) {
        if !self.shape.is_awkward || after > AWAY_MS_MAX || self.rng.u8(0..RIGHTS_GO) > 0 {
            return;
        }
        let client = self.links[id.0].client;
        let principal = self.clients[client].principal.clone();
        for channel in self.pushed_to(message) {
            self.faults.count(Fault::ReadForbidden);
            self.deny_reading(&principal, channel);
            self.deny_writing(&principal, channel);
            let principal = principal.clone();
            self.after(after + 1_000, Event::GrantReturns { principal, channel });
        }
        self.cut(id, Some(0), Some(0));
    }

    /// A push comes once more: whoever may do nothing there finds the channel asleep.
    pub(crate) fn before_replay(&mut self, id: LinkId, message: &Bytes) -> Checked {
        if !self.shape.is_awkward {
            return Ok(());
        }
        let (client, node) = (self.links[id.0].client, self.links[id.0].node);
        let principal = self.clients[client].principal.clone();
        for channel in self.pushed_to(message) {
            let runs = self.nodes[node].channels().any(|runs| runs == channel);
            if runs && self.may_nothing(&principal, channel) {
                self.faults.count(Fault::TaskDied);
                self.kill_task(node, channel)?;
            }
        }
        Ok(())
    }

    fn may_nothing(&self, principal: &str, channel: usize) -> bool {
        let key = (principal.to_owned(), channel);
        let denied = self.grants.denied();
        denied.read.contains(&key) && denied.write.contains(&key)
    }

    fn pushed_to(&self, message: &Bytes) -> Vec<usize> {
        let frames = decode_client(message.clone(), usize::MAX).unwrap_or_default();
        let channels = frames.iter().filter_map(|frame| match frame {
            ClientKind::Push(push) => self.names().iter().position(|n| n.as_str() == push.channel),
            _ => None,
        });
        channels.collect()
    }
}

/// Whether a message tells nothing but how far logs have come.
fn tells_of_heads(message: &Bytes) -> bool {
    decode_server(message.clone(), usize::MAX).is_ok_and(|frames| {
        let tells =
            |frame: &ServerKind| matches!(frame, ServerKind::Patch(_) | ServerKind::Heartbeat(_));
        frames.iter().all(tells)
    })
}
