//! The peers that have a connection to this node, or had one a moment ago.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_core::time::MonoTime;

use super::Shown;
use crate::channel::PeerId;

/// Peers by number, and which connections are theirs.
#[derive(Default)]
pub(super) struct Here {
    peers: BTreeMap<u64, Local>,
    /// Whose a connection is that has shown something.
    links: BTreeMap<PeerId, u64>,
    /// Who has no connection left, and until when another one may come.
    leaving: BTreeSet<(MonoTime, u64)>,
    bytes: usize,
}

struct Local {
    shown: Shown,
    /// Its connections that have shown something: two while it moves.
    links: Vec<PeerId>,
    leaves_at: Option<MonoTime>,
}

impl Here {
    /// Returns whether that is something new.
    pub(super) fn set(&mut self, conn: PeerId, peer: u64, shown: Shown) -> bool {
        let bytes = shown.bytes();
        let mut is_new = false;
        let local = self.peers.entry(peer).or_insert_with(|| {
            is_new = true;
            Local {
                shown: shown.clone(),
                links: Vec::new(),
                leaves_at: None,
            }
        });
        if is_new {
            self.bytes += bytes;
        } else {
            self.bytes = self.bytes - local.shown.bytes() + bytes;
            is_new = local.shown != shown;
            local.shown = shown;
        }
        if let Some(at) = local.leaves_at.take() {
            self.leaving.remove(&(at, peer));
        }
        if self.links.insert(conn, peer).is_none() {
            local.links.push(conn);
        }
        is_new
    }

    /// Whoever this connection belongs to shows nothing any more.
    pub(super) fn clear(&mut self, conn: PeerId) -> Option<u64> {
        let peer = *self.links.get(&conn)?;
        self.forget(peer);
        Some(peer)
    }

    /// A connection is gone. Returns its peer if that was the last one; it leaves at that time.
    pub(super) fn leave(&mut self, conn: PeerId, at: MonoTime) -> Option<u64> {
        let peer = self.links.remove(&conn)?;
        let local = self.peers.get_mut(&peer)?;
        local.links.retain(|link| *link != conn);
        if !local.links.is_empty() {
            return None;
        }
        local.leaves_at = Some(at);
        self.leaving.insert((at, peer));
        Some(peer)
    }

    pub(super) fn forget(&mut self, peer: u64) {
        let Some(local) = self.peers.remove(&peer) else {
            return;
        };
        self.bytes -= local.shown.bytes();
        for link in &local.links {
            self.links.remove(link);
        }
        if let Some(at) = local.leaves_at {
            self.leaving.remove(&(at, peer));
        }
    }

    /// Forgets one whose time for coming back is over.
    pub(super) fn take_overdue(&mut self, now: MonoTime) -> Option<u64> {
        let (_, peer) = *self.leaving.first().filter(|(at, _)| *at <= now)?;
        self.forget(peer);
        Some(peer)
    }

    pub(super) fn overdue_at(&self) -> Option<MonoTime> {
        self.leaving.first().map(|(at, _)| *at)
    }

    pub(super) fn shown(&self, peer: u64) -> Option<&Shown> {
        self.peers.get(&peer).map(|local| &local.shown)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = u64> {
        self.peers.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
