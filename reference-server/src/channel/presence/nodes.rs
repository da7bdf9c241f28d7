//! What nodes tell each other of their peers, over the broker: changes at once, the whole list now and then and
//! whenever somebody asks. Messages may get lost; the next list mends it.
//!
//! Invariant: a node's peers are shown only while that node says so, 25 s at most after its last word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::Peer;

use super::Shown;
use super::here::Here;
use crate::log::NodeId;

/// Whoever has peers says which, this often.
const LIST_INTERVAL: Duration = Duration::from_secs(10);

/// A node that says nothing for so long has none: two lists may get lost.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// What is published on a channel. A later kind takes another number.
#[derive(Clone, PartialEq, Message)]
struct Published {
    #[prost(fixed64, tag = "1")]
    node: u64,
    #[prost(message, optional, tag = "2")]
    presence: Option<NodePresence>,
}

/// What one node says of its peers.
#[derive(Clone, PartialEq, Message)]
struct NodePresence {
    /// The others say theirs.
    #[prost(bool, tag = "1")]
    asks: bool,
    /// These are all.
    #[prost(bool, tag = "2")]
    is_whole: bool,
    /// Without data: gone.
    #[prost(message, repeated, tag = "3")]
    peers: Vec<Peer>,
}

/// The other nodes' peers, and what they have to hear of this one's.
pub(super) struct Nodes {
    own: NodeId,
    /// Peers by number, and by the node that listed them.
    peers: BTreeMap<(u64, u64), Shown>,
    bytes: usize,
    /// Until when a node's last word counts.
    heard: BTreeMap<u64, MonoTime>,
    /// Own peers that changed since the others were told.
    untold: BTreeSet<u64>,
    asks: bool,
    /// Somebody asked.
    is_asked: bool,
    published: Option<MonoTime>,
    listed: Option<MonoTime>,
}

impl Nodes {
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            own,
            peers: BTreeMap::new(),
            bytes: 0,
            heard: BTreeMap::new(),
            untold: BTreeSet::new(),
            asks: false,
            is_asked: false,
            published: None,
            listed: None,
        }
    }

    pub(super) fn ask(&mut self) {
        self.asks = true;
    }

    pub(super) fn note_own(&mut self, peer: u64) {
        self.untold.insert(peer);
    }

    /// `room`: so many peers of so many bytes have room beside this node's own. Policy beyond: they are not shown.
    pub(super) fn hear(
        &mut self,
        message: &[u8],
        now: MonoTime,
        room: (usize, usize),
        changed: &mut BTreeSet<u64>,
    ) {
        // What a later version publishes is none of ours.
        let Ok(Published {
            node,
            presence: Some(presence),
        }) = Published::decode(message)
        else {
            return;
        };
        if node == self.own.0 {
            return;
        }
        self.is_asked |= presence.asks;
        if presence.is_whole {
            let listed: BTreeSet<u64> = presence.peers.iter().map(|peer| peer.peer).collect();
            let gone = self.listed_by(node).filter(|peer| !listed.contains(peer));
            for peer in gone.collect::<Vec<_>>() {
                self.remove(peer, node, changed);
            }
        }
        for Peer {
            peer,
            principal,
            data,
        } in presence.peers
        {
            let Some(data) = data else {
                self.remove(peer, node, changed);
                continue;
            };
            // Copies: what came is one piece of memory for all of them.
            let shown = Shown {
                principal: Arc::from(principal),
                data: Bytes::copy_from_slice(&data),
            };
            self.insert(peer, node, shown, room, changed);
        }
        let has_peers = self.listed_by(node).next().is_some();
        if has_peers {
            self.heard.insert(node, now + SILENCE_MAX);
        } else {
            self.heard.remove(&node);
        }
    }

    fn insert(
        &mut self,
        peer: u64,
        node: u64,
        shown: Shown,
        room: (usize, usize),
        changed: &mut BTreeSet<u64>,
    ) {
        let before = self.peers.get(&(peer, node));
        if before == Some(&shown) {
            return;
        }
        let others = self.peers.len() - usize::from(before.is_some());
        let bytes = self.bytes - before.map_or(0, Shown::bytes) + shown.bytes();
        if others >= room.0 || bytes > room.1 {
            self.remove(peer, node, changed);
            return;
        }
        self.bytes = bytes;
        self.peers.insert((peer, node), shown);
        changed.insert(peer);
    }

    fn remove(&mut self, peer: u64, node: u64, changed: &mut BTreeSet<u64>) {
        if let Some(shown) = self.peers.remove(&(peer, node)) {
            self.bytes -= shown.bytes();
            changed.insert(peer);
        }
    }

    fn listed_by(&self, node: u64) -> impl Iterator<Item = u64> {
        let listed = self.peers.keys().filter(move |(_, by)| *by == node);
        listed.map(|(peer, _)| *peer)
    }

    /// Forgets the peers of nodes that say nothing any more.
    pub(super) fn expire(&mut self, now: MonoTime, changed: &mut BTreeSet<u64>) {
        if planted!(SilentNodeBelieved) {
            return;
        }
        let silent: Vec<u64> = self
            .heard
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in silent {
            self.heard.remove(&node);
            for peer in self.listed_by(node).collect::<Vec<_>>() {
                self.remove(peer, node, changed);
            }
        }
    }

    pub(super) fn expire_at(&self) -> Option<MonoTime> {
        self.heard.values().min().copied()
    }

    /// Whether the others have to hear something of this node.
    pub(super) fn has_news(&self) -> bool {
        !self.untold.is_empty() || self.asks || self.is_asked
    }

    /// When something is published next; now, if that moment has passed.
    pub(super) fn publish_at(&self, here: &Here, interval: Duration) -> Option<MonoTime> {
        let news = self.has_news().then(|| {
            let next = self.published.map(|published| published + interval);
            next.unwrap_or_default()
        });
        let list = (here.len() > 0).then(|| {
            let next = self.listed.map(|listed| listed + LIST_INTERVAL);
            next.unwrap_or_default()
        });
        news.into_iter().chain(list).min()
    }

    pub(super) fn take_published(
        &mut self,
        here: &Here,
        now: MonoTime,
        interval: Duration,
    ) -> Option<Bytes> {
        self.publish_at(here, interval).filter(|at| *at <= now)?;
        let is_due = |listed: MonoTime| listed + LIST_INTERVAL <= now;
        let is_whole = self.is_asked || (here.len() > 0 && self.listed.is_none_or(is_due));
        let untold = std::mem::take(&mut self.untold);
        let peers: Vec<u64> = if is_whole {
            self.listed = Some(now);
            here.peers().collect()
        } else {
            untold.into_iter().collect()
        };
        let as_is = |peer| match here.shown(peer) {
            Some(shown) => shown.peer(peer),
            None => Peer {
                peer,
                principal: String::new(),
                data: None,
            },
        };
        self.is_asked = false;
        self.published = Some(now);
        let presence = NodePresence {
            asks: std::mem::take(&mut self.asks),
            is_whole,
            peers: peers.into_iter().map(as_is).collect(),
        };
        let published = Published {
            node: self.own.0,
            presence: Some(presence),
        };
        Some(published.encode_to_vec().into())
    }

    pub(super) fn shown(&self, peer: u64) -> Option<&Shown> {
        let mut listed = self.peers.range((peer, 0)..=(peer, u64::MAX));
        listed.next().map(|(_, shown)| shown)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = u64> {
        self.peers.keys().map(|(peer, _)| *peer)
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
