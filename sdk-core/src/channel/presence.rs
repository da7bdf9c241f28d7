//! Who is here: one's own data on its way out, others' on its way in.

use std::time::Duration;

use bytes::Bytes;

use crate::planted;
use crate::sorted::SortedMap;
use crate::time::MonoTime;
use crate::wire::{self, Peer};

/// Others that are remembered per channel. Policy at the limit: newcomers are not shown.
const PEERS_MAX: usize = 10_000;

/// Presence of one channel.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    own: Option<Bytes>,
    /// What the server does not know yet.
    unsent: bool,
    sent_at: Option<MonoTime>,
    peers: SortedMap<u64, Box<Peer>>,
}

impl Presence {
    pub(crate) fn set(&mut self, data: Option<Bytes>) {
        if self.own != data {
            self.own = data;
            self.unsent = true;
        }
    }

    /// A new stream runs: the server may know nothing of us, or, on the same link, something old. That
    /// one is gone then still has to be said.
    pub(crate) fn on_subscribed(&mut self) {
        self.unsent |= self.own.is_some() && !planted!(PresenceNotRepeated);
        self.sent_at = None;
    }

    /// The link is gone, and with it everybody, us too. Tells whether someone was there.
    pub(crate) fn on_disconnected(&mut self) -> bool {
        self.unsent = self.own.is_some() && !planted!(PresenceNotRepeated);
        let were = !self.peers.is_empty();
        self.peers.clear();
        were
    }

    pub(crate) fn on_frame(&mut self, frame: wire::Presence) {
        if frame.full {
            self.peers.clear();
        }
        for mut peer in frame.peers {
            let Some(data) = &peer.data else {
                self.peers.remove(&peer.peer);
                continue;
            };
            // A copy: a few bytes must not keep the whole message alive.
            peer.data = Some(Bytes::copy_from_slice(data));
            if self.peers.len() < PEERS_MAX || self.peers.get(&peer.peer).is_some() {
                self.peers.insert(peer.peer, Box::new(peer));
            }
        }
    }

    /// What another link has said of who is here takes the place of what is known.
    pub(crate) fn take_peers(&mut self, other: Self) {
        self.peers = other.peers;
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().map(|peer| &**peer)
    }

    /// When unsent data may go: at most once per `interval`, the latest wins.
    pub(crate) fn deadline(&self, interval: Duration) -> Option<MonoTime> {
        self.unsent
            .then(|| self.sent_at.map_or(MonoTime(0), |at| at + interval))
    }

    pub(crate) fn poll(&mut self, now: MonoTime, interval: Duration) -> Option<Option<Bytes>> {
        if now < self.deadline(interval)? {
            return None;
        }
        self.unsent = false;
        self.sent_at = Some(now);
        Some(self.own.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_data_goes_out_and_not_too_often() {
        let interval = Duration::from_millis(50);
        let mut presence = Presence::default();
        presence.set(Some("1".into()));
        assert_eq!(
            presence.poll(MonoTime(10), interval),
            Some(Some("1".into()))
        );
        presence.set(Some("2".into()));
        presence.set(Some("3".into()));
        assert_eq!(presence.poll(MonoTime(20), interval), None);
        assert_eq!(presence.deadline(interval), Some(MonoTime(60)));
        assert_eq!(
            presence.poll(MonoTime(60), interval),
            Some(Some("3".into()))
        );
        assert_eq!(presence.poll(MonoTime(600), interval), None);
        presence.set(None);
        assert_eq!(presence.poll(MonoTime(700), interval), Some(None));
        presence.on_subscribed();
        assert_eq!(presence.deadline(interval), None);
    }

    #[test]
    fn going_while_the_stream_is_down_is_said_on_the_same_link_and_needless_on_the_next() {
        let interval = Duration::from_millis(50);
        let mut presence = Presence::default();
        presence.set(Some("1".into()));
        assert!(presence.poll(MonoTime(0), interval).is_some());
        presence.set(None);
        presence.on_subscribed();
        assert_eq!(presence.poll(MonoTime(100), interval), Some(None));
        presence.set(Some("2".into()));
        presence.set(None);
        presence.on_disconnected();
        presence.on_subscribed();
        assert_eq!(presence.poll(MonoTime(200), interval), None);
    }
}
