//! Messages that leave the order of their link: lost, copied or overtaken while it lives, and pushes
//! that come once more on whatever link their sender has by then.
//!
//! Only what a protocol over HTTP, with retries and caches in between, may do this to: hello, grants,
//! presence and errors stay in their order.

use bytes::Bytes;
use tidewire_core::wire::{ClientKind, ServerKind, decode_client, decode_server};

use crate::draw::Draw as _;
use crate::faults::Fault;
use crate::link::{LinkId, LinkPhase, Way};
use crate::violation::Checked;
use crate::world::{Event, World};

impl World {
    /// A message is put on a link whose order is not kept. `None`: it goes its own way, or nowhere.
    pub(crate) fn stray(&mut self, id: LinkId, way: Way, message: Bytes) -> Option<Bytes> {
        if way == Way::Up
            && self.faults.is_on(Fault::PushReplayed)
            && is_push(&message)
            && self.faults.strikes(Fault::PushReplayed, &mut self.rng)
        {
            let after = self.rng.u64(1..20_000);
            self.on_replay(id, &message, after);
            let (client, message) = (self.links[id.0].client, message.clone());
            let life = self.clients[client].life;
            self.after(
                after,
                Event::Replays {
                    client,
                    life,
                    message,
                },
            );
        }
        if self.shape.links_keep_order || self.faults.is_frozen() || !is_loose(way, &message) {
            return Some(message);
        }
        if self.is_lost_for_good(way, &message)
            || self.faults.strikes(Fault::MessageDropped, &mut self.rng)
        {
            self.note("dropped", &[id.0 as u64], || {
                format!("link {} {way:?}", id.0)
            });
            return None;
        }
        if self.faults.strikes(Fault::MessageCopied, &mut self.rng) {
            let after = self.stray_ms();
            let message = message.clone();
            self.after(
                after,
                Event::Strays {
                    link: id,
                    way,
                    message,
                },
            );
        }
        if self.faults.strikes(Fault::MessageOvertaken, &mut self.rng) {
            let after = self.stray_ms();
            self.after(
                after,
                Event::Strays {
                    link: id,
                    way,
                    message,
                },
            );
            return None;
        }
        Some(message)
    }

    fn stray_ms(&mut self) -> u64 {
        let most = [5, 50, 500, 5_000][self.rng.index(0..4)];
        self.rng.u64(1..=most) + self.shape.link_ms.1
    }

    /// A message arrives that left the order of its link.
    pub(crate) fn strays(&mut self, id: LinkId, way: Way, message: Bytes) -> Checked {
        if self.links[id.0].phase != LinkPhase::Up || self.links[id.0].lane(way).is_broken() {
            return Ok(());
        }
        match way {
            Way::Up => self.arrives_at_node(id, &message),
            Way::Down => self.arrives_at_client(id, message),
        }
    }

    /// A push comes once more, on the link that its sender has by now.
    pub(crate) fn replays(&mut self, client: usize, life: u64, message: &Bytes) -> Checked {
        let Some(id) = self.link_of(client) else {
            return Ok(());
        };
        let link = &self.links[id.0];
        let is_known = link.phase == LinkPhase::Up
            && self.clients[client].life == life
            && self.nodes[link.node].knows(link.server_conn);
        if !is_known || self.faults.is_frozen() {
            return Ok(());
        }
        self.note("replayed", &[id.0 as u64], || {
            format!("client {client} on link {}", id.0)
        });
        self.before_replay(id, message)?;
        self.arrives_at_node(id, message)
    }
}

fn is_push(message: &Bytes) -> bool {
    decode_client(message.clone(), usize::MAX).is_ok_and(|frames| {
        frames
            .iter()
            .all(|frame| matches!(frame, ClientKind::Push(_)))
    })
}

/// Whether the order of a message may be broken.
fn is_loose(way: Way, message: &Bytes) -> bool {
    match way {
        Way::Up => decode_client(message.clone(), usize::MAX).is_ok_and(|frames| {
            frames.iter().all(|frame| {
                matches!(
                    frame,
                    ClientKind::Push(_)
                        | ClientKind::Fetch(_)
                        | ClientKind::Ping(_)
                        | ClientKind::Pong(_)
                )
            })
        }),
        Way::Down => decode_server(message.clone(), usize::MAX).is_ok_and(|frames| {
            frames.iter().all(|frame| {
                matches!(
                    frame,
                    ServerKind::Resume(_)
                        | ServerKind::SnapshotBegin(_)
                        | ServerKind::SnapshotPart(_)
                        | ServerKind::SnapshotEnd(_)
                        | ServerKind::Patch(_)
                        | ServerKind::Ack(_)
                        | ServerKind::Need(_)
                        | ServerKind::Hold(_)
                        | ServerKind::StaleEpoch(_)
                        | ServerKind::Lagged(_)
                        | ServerKind::Heartbeat(_)
                        | ServerKind::Pong(_)
                )
            })
        }),
    }
}
