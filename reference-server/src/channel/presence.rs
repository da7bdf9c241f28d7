//! Who is here: ephemeral, last write wins, gone with the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::document::value::is_json;
use tidewire_core::wire::{ErrorCode, Peer};

use super::input::ConnId;

/// The present peers of a channel.
pub(super) struct Presence {
    peers: BTreeMap<ConnId, (Arc<str>, Bytes)>,
    /// Whoever changed since the others were told.
    changed: BTreeSet<ConnId>,
    peers_max: usize,
    bytes_max: usize,
}

/// Why presence is refused: a code for programs, a reason for people.
pub(super) type Refusal = (ErrorCode, String);

impl Presence {
    pub(super) const fn new(peers_max: usize, bytes_max: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            changed: BTreeSet::new(),
            peers_max,
            bytes_max,
        }
    }

    /// Sets what a peer shows. At `peers_max` a new one is refused.
    pub(super) fn set(
        &mut self,
        conn: ConnId,
        principal: &Arc<str>,
        data: &Bytes,
    ) -> Result<(), Refusal> {
        if data.len() > self.bytes_max {
            return Err((
                ErrorCode::TooLarge,
                format!(
                    "presence of {} bytes is over {}",
                    data.len(),
                    self.bytes_max
                ),
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
        // A copy: the data may point into a whole network message.
        let data = Bytes::copy_from_slice(data);
        self.peers.insert(conn, (principal.clone(), data));
        self.changed.insert(conn);
        Ok(())
    }

    /// A peer is gone.
    pub(super) fn remove(&mut self, conn: ConnId) {
        if self.peers.remove(&conn).is_some() {
            self.changed.insert(conn);
        }
    }

    /// Takes who changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ConnId> {
        std::mem::take(&mut self.changed)
    }

    /// Everyone but one.
    pub(super) fn others(&self, but: ConnId) -> Vec<Peer> {
        self.peers
            .iter()
            .filter(|(conn, _)| **conn != but)
            .map(|(conn, (principal, data))| peer(*conn, principal, Some(data.clone())))
            .collect()
    }

    /// Those of `changed` as they are now, but one.
    pub(super) fn changes(&self, changed: &BTreeSet<ConnId>, but: Option<ConnId>) -> Vec<Peer> {
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

fn peer(conn: ConnId, principal: &str, data: Option<Bytes>) -> Peer {
    Peer {
        peer: conn.0,
        principal: principal.into(),
        data,
    }
}
