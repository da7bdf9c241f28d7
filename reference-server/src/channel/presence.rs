//! Who is here: ephemeral, last write wins, gone with the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::document::value::is_json;
use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{ErrorCode, Peer};

use super::input::PeerId;

/// What a peer costs besides its name and data.
const PEER_BYTES: usize = 32;

/// The present peers of a channel. At the limits, in number and in bytes of all names and data together,
/// a peer is refused with `presence_full`. So the whole list always fits one frame and one outlet.
pub(super) struct Presence {
    peers: BTreeMap<PeerId, (Arc<str>, Bytes)>,
    bytes: usize,
    /// Whoever changed since the others were told.
    changed: BTreeSet<PeerId>,
    /// When that was.
    told: Option<MonoTime>,
    interval: Duration,
    peers_max: usize,
    data_bytes_max: usize,
    bytes_max: usize,
}

/// Why presence is refused: a code for programs, a reason for people.
pub(super) type Refusal = (ErrorCode, String);

impl Presence {
    pub(super) const fn new(
        peers_max: usize,
        data_bytes_max: usize,
        bytes_max: usize,
        interval: Duration,
    ) -> Self {
        Self {
            peers: BTreeMap::new(),
            changed: BTreeSet::new(),
            told: None,
            interval,
            bytes: 0,
            peers_max,
            data_bytes_max,
            bytes_max,
        }
    }

    /// Sets what a peer shows. At `peers_max` a new one is refused.
    pub(super) fn set(
        &mut self,
        conn: PeerId,
        principal: &Arc<str>,
        data: &Bytes,
    ) -> Result<(), Refusal> {
        let (bytes, bytes_max) = (data.len(), self.data_bytes_max);
        if bytes > bytes_max {
            return Err((
                ErrorCode::TooLarge,
                format!("presence of {bytes} bytes is over {bytes_max}"),
            ));
        }
        if !is_json(data) {
            return Err((ErrorCode::Invalid, "presence must be JSON".into()));
        }
        if !self.peers.contains_key(&conn) && self.peers.len() >= self.peers_max {
            return Err((
                ErrorCode::PresenceFull,
                format!("{} peers are present already", self.peers_max),
            ));
        }
        let before = self.peers.get(&conn).map_or(0, peer_bytes);
        // A copy: the data may point into a whole network message.
        let next = (principal.clone(), Bytes::copy_from_slice(data));
        let bytes = self.bytes - before + peer_bytes(&next);
        if bytes > self.bytes_max {
            return Err((
                ErrorCode::PresenceFull,
                "the channel's peers show too much already".into(),
            ));
        }
        self.bytes = bytes;
        self.peers.insert(conn, next);
        self.changed.insert(conn);
        Ok(())
    }

    /// A peer is gone.
    pub(super) fn remove(&mut self, conn: PeerId) {
        if let Some(peer) = self.peers.remove(&conn) {
            self.bytes -= peer_bytes(&peer);
            if !planted!(DepartureUntold) {
                self.changed.insert(conn);
            }
        }
    }

    /// Takes who changed, at most once in an interval: however many peers move at a time, the others get
    /// one message for it.
    pub(super) fn take_changed(&mut self, now: MonoTime) -> BTreeSet<PeerId> {
        if self.changed.is_empty() || self.due_at().is_some_and(|at| at > now) {
            return BTreeSet::new();
        }
        self.told = Some(now);
        std::mem::take(&mut self.changed)
    }

    /// When the others are told next; `None`: nobody changed, or they may be told now.
    pub(super) fn due_at(&self) -> Option<MonoTime> {
        match self.changed.is_empty() {
            true => None,
            false => self.told.map(|told| told + self.interval),
        }
    }

    /// Everyone but one.
    pub(super) fn others(&self, but: PeerId) -> Vec<Peer> {
        self.peers
            .iter()
            .filter(|(conn, _)| **conn != but || planted!(OwnPresenceListed))
            .map(|(conn, (principal, data))| peer(*conn, principal, Some(data.clone())))
            .collect()
    }

    /// Those of `changed` as they are now, but one.
    pub(super) fn changes(&self, changed: &BTreeSet<PeerId>, but: Option<PeerId>) -> Vec<Peer> {
        changed
            .iter()
            .filter(|conn| Some(**conn) != but)
            .map(|conn| match self.peers.get(conn) {
                Some((principal, data)) => peer(*conn, principal, Some(data.clone())),
                None => peer(*conn, "", None),
            })
            .collect()
    }
}

fn peer_bytes((principal, data): &(Arc<str>, Bytes)) -> usize {
    PEER_BYTES + principal.len() + data.len()
}

fn peer(conn: PeerId, principal: &str, data: Option<Bytes>) -> Peer {
    Peer {
        peer: conn.0,
        principal: principal.into(),
        data,
    }
}
