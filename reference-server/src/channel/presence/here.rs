//! The peers that have a connection to this node, or had one a moment ago.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_core::time::MonoTime;

use super::Shown;
use crate::channel::PeerId;

/// Peers by number, and which connections are theirs.
#[derive(Default)]
pub(super) struct Here {
    peers: BTreeMap<u64, Local>,
    /// Whose a connection is that has said something.
    links: BTreeMap<PeerId, u64>,
    /// Who has no connection left, and until when another one may come.
    leaving: BTreeSet<(MonoTime, u64)>,
    bytes: usize,
}

/// One peer. Of its connections the newest that has said something counts: what an older one says comes late.
#[derive(Default)]
struct Local {
    /// What each has said last; `None`: that it shows nothing. Two while it moves.
    words: BTreeMap<PeerId, Option<Shown>>,
    /// What it showed when the last one went.
    kept: Option<Shown>,
    leaves_at: Option<MonoTime>,
}

impl Local {
    fn shown(&self) -> Option<&Shown> {
        match self.words.last_key_value() {
            Some((_, word)) => word.as_ref(),
            None => self.kept.as_ref(),
        }
    }

    fn bytes(&self) -> usize {
        let shown = self.words.values().flatten().chain(&self.kept);
        shown.map(Shown::bytes).sum()
    }
}

/// What the end of a connection means to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// It shows something else now: what its other connection has said.
    Changed(u64),
    /// It has none left, and leaves at that time.
    Last(u64),
}

impl Here {
    /// Returns whether that is something new.
    pub(super) fn set(&mut self, conn: PeerId, peer: u64, shown: Shown) -> bool {
        self.links.insert(conn, peer);
        self.change(peer, |local| {
            local.kept = None;
            local.words.insert(conn, Some(shown));
        })
    }

    /// Whoever this connection belongs to shows nothing any more. Returns its peer if that is something new.
    pub(super) fn clear(&mut self, conn: PeerId) -> Option<u64> {
        let peer = *self.links.get(&conn)?;
        let is_new = self.change(peer, |local| {
            local.words.insert(conn, None);
        });
        is_new.then_some(peer)
    }

    /// A connection is gone.
    pub(super) fn leave(&mut self, conn: PeerId, at: MonoTime) -> Left {
        let Some(peer) = self.links.remove(&conn) else {
            return Left::Nothing;
        };
        let is_new = self.change(peer, |local| {
            let word = local.words.remove(&conn).flatten();
            if local.words.is_empty() {
                local.leaves_at = word.as_ref().map(|_| at);
                local.kept = word;
            }
        });
        match self.peers.get(&peer).and_then(|local| local.leaves_at) {
            Some(at) => {
                self.leaving.insert((at, peer));
                Left::Last(peer)
            }
            None if is_new => Left::Changed(peer),
            None => Left::Nothing,
        }
    }

    /// Changes a peer. Returns whether it shows something else now. One that shows nothing, and may not do so again, is
    /// forgotten.
    fn change(&mut self, peer: u64, change: impl FnOnce(&mut Local)) -> bool {
        let local = self.peers.entry(peer).or_default();
        let (before, bytes) = (local.shown().cloned(), local.bytes());
        if let Some(at) = local.leaves_at.take() {
            self.leaving.remove(&(at, peer));
        }
        change(local);
        self.bytes = self.bytes - bytes + local.bytes();
        let is_new = local.shown() != before.as_ref();
        if local.words.values().flatten().next().is_none() && local.kept.is_none() {
            self.forget(peer);
        }
        is_new
    }

    pub(super) fn forget(&mut self, peer: u64) {
        let Some(local) = self.peers.remove(&peer) else {
            return;
        };
        self.bytes -= local.bytes();
        for link in local.words.keys() {
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
        self.peers.get(&peer)?.shown()
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = u64> {
        let shown = self
            .peers
            .iter()
            .filter(|(_, local)| local.shown().is_some());
        shown.map(|(peer, _)| *peer)
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: u64 = 7;
    const LATER: MonoTime = MonoTime(5_000);

    fn shown(data: &'static str) -> Shown {
        Shown {
            principal: "ana".into(),
            data: data.into(),
        }
    }

    fn data(here: &Here) -> Option<&[u8]> {
        here.shown(PEER).map(|shown| &shown.data[..])
    }

    #[test]
    fn what_an_older_connection_says_late_changes_nothing_until_it_is_the_only_one() {
        let (old, new) = (PeerId(1), PeerId(2));
        let mut here = Here::default();
        assert!(here.set(old, PEER, shown("a")));
        assert!(!here.set(new, PEER, shown("a")));
        assert_eq!(here.clear(old), None);
        assert!(!here.set(old, PEER, shown("late")));
        assert_eq!(data(&here), Some(&b"a"[..]));
        assert_eq!(here.leave(new, LATER), Left::Changed(PEER));
        assert_eq!(data(&here), Some(&b"late"[..]));
        assert_eq!(here.leave(old, LATER), Left::Last(PEER));
        assert_eq!(data(&here), Some(&b"late"[..]), "for its grace");
        assert_eq!(here.take_overdue(LATER), Some(PEER));
        assert_eq!((data(&here), here.len(), here.bytes()), (None, 0, 0));
    }

    #[test]
    fn whoever_shows_nothing_is_not_listed_though_an_older_connection_did() {
        let (old, new) = (PeerId(1), PeerId(2));
        let mut here = Here::default();
        assert!(here.set(old, PEER, shown("a")));
        assert!(!here.set(new, PEER, shown("a")));
        assert_eq!(here.clear(new), Some(PEER));
        assert_eq!((data(&here), here.peers().count()), (None, 0));
        assert!(here.set(new, PEER, shown("b")));
        assert_eq!(data(&here), Some(&b"b"[..]));
        assert_eq!(here.leave(old, LATER), Left::Nothing);
        assert_eq!(here.bytes(), shown("b").bytes());
    }
}
