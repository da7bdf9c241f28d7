//! Who is here: ephemeral, last write wins, gone with the session.
//!
//! A peer is a session of a client, whatever links it has had, on whichever nodes: its number is what its first
//! session and all that continue it have in common. So a client that moves from link to link stays one peer.
//!
//! Invariant: nobody is told of their own session; what is shown is what some node listed last.

mod here;
mod nodes;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::document::value::is_json;
use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{ErrorCode, Peer};

use self::here::{Here, Left};
use self::nodes::Nodes;
use super::input::{PeerId, Subscriber};
use crate::log::NodeId;

/// What a peer costs besides its name and data.
const PEER_BYTES: usize = 32;

/// How presence is bounded and paced.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// At this many a new peer is refused.
    pub(super) peers_max: usize,
    /// The most that one peer may show.
    pub(super) data_bytes_max: usize,
    /// The most that all of them may show, with their names. So the whole list always fits one frame.
    pub(super) bytes_max: usize,
    /// The others are told at most once in this time, readers as well as nodes.
    pub(super) interval: Duration,
    /// How long a peer stays whose last connection broke: another one may come.
    pub(super) grace: Duration,
    /// Which node this is, among those that share the broker; `None`: it shares with nobody.
    pub(super) node: Option<NodeId>,
}

/// The present peers of a channel. At the limits a peer is refused with `presence_full`.
pub(super) struct Presence {
    here: Here,
    elsewhere: Option<Nodes>,
    /// Whoever changed since the readers were told.
    changed: BTreeSet<u64>,
    /// When that was.
    told: Option<MonoTime>,
    settings: Settings,
}

/// What a peer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    principal: std::sync::Arc<str>,
    data: Bytes,
}

/// Why presence is refused: a code for programs, a reason for people.
pub(super) type Refusal = (ErrorCode, String);

impl Presence {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            here: Here::default(),
            elsewhere: settings.node.map(Nodes::new),
            changed: BTreeSet::new(),
            told: None,
            settings,
        }
    }

    /// Sets what a peer shows. Beyond the limits a new one is refused.
    pub(super) fn set(&mut self, who: &Subscriber, data: &Bytes) -> Result<(), Refusal> {
        let (bytes, bytes_max) = (data.len(), self.settings.data_bytes_max);
        if bytes > bytes_max {
            return Err((
                ErrorCode::TooLarge,
                format!("presence of {bytes} bytes is over {bytes_max}"),
            ));
        }
        if !is_json(data) {
            return Err((ErrorCode::Invalid, "presence must be JSON".into()));
        }
        let known = self.here.shown(who.peer);
        if known.is_none() && self.count() >= self.settings.peers_max {
            return Err((
                ErrorCode::PresenceFull,
                format!("{} peers are present already", self.settings.peers_max),
            ));
        }
        let shown = Shown {
            principal: who.principal.clone(),
            // A copy: the data may point into a whole network message.
            data: Bytes::copy_from_slice(data),
        };
        let before = known.map_or(0, Shown::bytes);
        if self.bytes() - before + shown.bytes() > self.settings.bytes_max {
            return Err((
                ErrorCode::PresenceFull,
                "the channel's peers show too much already".into(),
            ));
        }
        if self.here.set(who.conn, who.peer, shown) {
            self.note_own(who.peer);
        }
        Ok(())
    }

    /// A peer shows nothing any more, on whichever connection it said so.
    pub(super) fn clear(&mut self, conn: PeerId) {
        if let Some(peer) = self.here.clear(conn) {
            self.note_own(peer);
        }
    }

    /// A connection is gone, or wants nothing of the channel any more. `cleanly`: its client said so.
    pub(super) fn leave(&mut self, conn: PeerId, cleanly: bool, now: MonoTime) {
        let grace = if cleanly {
            Duration::ZERO
        } else {
            self.settings.grace
        };
        match self.here.leave(conn, now + grace) {
            Left::Last(peer) if grace.is_zero() => {
                self.here.forget(peer);
                self.note_own(peer);
            }
            Left::Changed(peer) => self.note_own(peer),
            Left::Last(_) | Left::Nothing => {}
        }
    }

    /// Somebody reads again on this node: the others say who is there.
    pub(super) fn ask(&mut self) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.ask();
        }
    }

    /// Another node has published something about this channel, or this one hears itself.
    pub(super) fn hear(&mut self, message: &[u8], now: MonoTime) {
        let room = (
            self.settings.peers_max.saturating_sub(self.here.len()),
            self.settings.bytes_max.saturating_sub(self.here.bytes()),
        );
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.hear(message, now, room, &mut self.changed);
        }
    }

    /// A peer of this node changed.
    fn note_own(&mut self, peer: u64) {
        if !planted!(DepartureUntold) || self.here.shown(peer).is_some() {
            self.changed.insert(peer);
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.note_own(peer);
        }
    }

    /// Forgets those whose time for coming back is over, here and on nodes that say nothing any more.
    fn expire(&mut self, now: MonoTime) {
        while let Some(peer) = self.here.take_overdue(now) {
            self.note_own(peer);
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.expire(now, &mut self.changed);
        }
    }

    /// Takes who changed, at most once in an interval: however many peers move at a time, the readers get
    /// one message for it.
    pub(super) fn take_changed(&mut self, now: MonoTime) -> BTreeSet<u64> {
        self.expire(now);
        if self.changed.is_empty() || self.told_next().is_some_and(|at| at > now) {
            return BTreeSet::new();
        }
        self.told = Some(now);
        std::mem::take(&mut self.changed)
    }

    /// What the other nodes have to hear now.
    pub(super) fn take_published(&mut self, now: MonoTime) -> Option<Bytes> {
        let elsewhere = self.elsewhere.as_mut()?;
        elsewhere.take_published(&self.here, now, self.settings.interval)
    }

    /// When something happens next by itself. `has_readers`: whether anybody could be told.
    pub(super) fn due_at(&self, has_readers: bool) -> Option<MonoTime> {
        let told = self.told_next().filter(|_| !self.changed.is_empty());
        let elsewhere = self.elsewhere.as_ref();
        let heard = elsewhere.and_then(Nodes::expire_at);
        let published = elsewhere.and_then(|nodes| {
            let interval = self.settings.interval;
            nodes.publish_at(&self.here, interval)
        });
        let for_readers = told.into_iter().chain(heard).filter(|_| has_readers);
        for_readers
            .chain(published)
            .chain(self.here.overdue_at())
            .min()
    }

    fn told_next(&self) -> Option<MonoTime> {
        self.told.map(|told| told + self.settings.interval)
    }

    /// Whether this node has to remember somebody, though nobody reads.
    pub(super) fn is_needed(&self) -> bool {
        self.here.len() > 0 || self.elsewhere.as_ref().is_some_and(Nodes::has_news)
    }

    /// Everyone but one.
    pub(super) fn others(&self, but: u64) -> Vec<Peer> {
        let mut peers: BTreeSet<u64> = self.here.peers().collect();
        if let Some(elsewhere) = &self.elsewhere {
            peers.extend(elsewhere.peers());
        }
        if !planted!(OwnPresenceListed) {
            peers.remove(&but);
        }
        let shown = |peer| Some(self.shown(peer)?.peer(peer));
        peers.into_iter().filter_map(shown).collect()
    }

    /// Those of `changed` as they are now, but one.
    pub(super) fn changes(&self, changed: &BTreeSet<u64>, but: Option<u64>) -> Vec<Peer> {
        let others = changed
            .iter()
            .filter(|peer| Some(**peer) != but || planted!(OwnPresenceListed));
        let as_is = |&peer| match self.shown(peer) {
            Some(shown) => shown.peer(peer),
            None => Peer {
                peer,
                principal: String::new(),
                data: None,
            },
        };
        others.map(as_is).collect()
    }

    /// What this node's own client says goes before what others heard of it.
    fn shown(&self, peer: u64) -> Option<&Shown> {
        let elsewhere = || self.elsewhere.as_ref()?.shown(peer);
        self.here.shown(peer).or_else(elsewhere)
    }

    fn count(&self) -> usize {
        self.here.len() + self.elsewhere.as_ref().map_or(0, Nodes::len)
    }

    fn bytes(&self) -> usize {
        self.here.bytes() + self.elsewhere.as_ref().map_or(0, Nodes::bytes)
    }
}

impl Shown {
    fn bytes(&self) -> usize {
        PEER_BYTES + self.principal.len() + self.data.len()
    }

    fn peer(&self, peer: u64) -> Peer {
        Peer {
            peer,
            principal: self.principal.to_string(),
            data: Some(self.data.clone()),
        }
    }
}
