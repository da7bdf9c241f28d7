//! A link between a client and a node: FIFO until it dies, then anything short of reordering.
//!
//! A dead link still delivers a prefix of what was under way, perhaps so late that the next link is
//! up already; the rest is lost. Either end may hear of the death late, or never.

use std::collections::VecDeque;

use bytes::Bytes;
use tidewire_core::{ConnId as ClientConn, TransportKind};
use tidewire_server::channel::PeerId;

/// A link's number in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub usize);

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the node.
    Up,
    /// From the node to the client.
    Down,
}

/// Where a link stands as seen from the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// The client waits for it to open.
    Opening,
    /// Both ends may use it.
    Up,
    /// Nothing new travels; what is under way may still arrive.
    Dead,
}

/// One direction of a link.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// Under way, oldest first.
    messages: VecDeque<Bytes>,
    arrived: u64,
    bytes_under_way: usize,
    /// Messages from this one on never arrive.
    lost_from: Option<u64>,
    /// Nothing arrives before.
    not_before_ms: u64,
    last_arrival_ms: u64,
}

/// What comes out of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// This message is delivered.
    Delivered(Bytes),
    /// A message was lost.
    Lost,
    /// Everything is held back until then.
    Later(u64),
}

impl Lane {
    /// Takes a message that travels `delay_ms` and then takes `drain_ms` to be read; returns when it
    /// has arrived.
    pub fn send(&mut self, now_ms: u64, delay_ms: u64, drain_ms: u64, message: Bytes) -> u64 {
        self.bytes_under_way += message.len();
        self.messages.push_back(message);
        self.last_arrival_ms = self.last_arrival_ms.max(now_ms + delay_ms) + drain_ms;
        self.last_arrival_ms
    }

    /// The time of one message has come: the oldest one arrives. `None`: nothing is under way.
    pub fn arrive(&mut self, now_ms: u64) -> Option<Arrival> {
        if now_ms < self.not_before_ms {
            return Some(Arrival::Later(self.not_before_ms));
        }
        let message = self.messages.pop_front()?;
        self.bytes_under_way -= message.len();
        let at = self.arrived;
        self.arrived += 1;
        if self.lost_from.is_some_and(|from| at >= from) {
            return Some(Arrival::Lost);
        }
        Some(Arrival::Delivered(message))
    }

    /// Of what is under way only `keep` more messages arrive, none before `not_before_ms`; nothing
    /// sent later arrives at all.
    pub fn break_after(&mut self, keep: u64, not_before_ms: u64) {
        let from = self.arrived + keep.min(self.under_way());
        self.lost_from = Some(self.lost_from.map_or(from, |known| known.min(from)));
        self.not_before_ms = self.not_before_ms.max(not_before_ms);
    }

    /// Messages under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Bytes under way: what the sender's socket has not got rid of.
    #[must_use]
    pub const fn bytes_under_way(&self) -> usize {
        self.bytes_under_way
    }

    /// When the last message sent so far arrives.
    #[must_use]
    pub const fn last_arrival_ms(&self) -> u64 {
        self.last_arrival_ms
    }

    /// Whether messages sent now are lost.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.lost_from.is_some()
    }
}

/// One link.
#[derive(Clone, Debug)]
pub struct Link {
    /// What carries it.
    pub kind: TransportKind,
    /// The request that a stream is the answer to.
    pub opened_by: Option<u64>,
    /// Its session has ended, and its last words wait for a poll.
    pub is_ending: bool,
    /// Which client, in which of its lives.
    pub client: usize,
    /// The client's life that opened it.
    pub client_life: u64,
    /// The core's number for it.
    pub client_conn: ClientConn,
    /// Which node.
    pub node: usize,
    /// The node's life that took it.
    pub node_life: u64,
    /// The server's number for it.
    pub server_conn: PeerId,
    /// Where it stands.
    pub phase: LinkPhase,
    /// Whether the client's driver still has it.
    pub client_has_it: bool,
    /// What the client sends as soon as it is up.
    pub first: Bytes,
    /// Messages to the node.
    pub up: Lane,
    /// Messages to the client.
    pub down: Lane,
    /// Usual travel time.
    pub delay_ms: (u64, u64),
    /// The client closed it, and does not come back on another one.
    pub is_left: bool,
    /// Until when it is slow, and how slow.
    pub spike: Option<(u64, u64)>,
    /// Bytes per ms that the client reads, while it reads slowly.
    pub reads_slowly: Option<u64>,
}

impl Link {
    /// One direction.
    pub const fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}
