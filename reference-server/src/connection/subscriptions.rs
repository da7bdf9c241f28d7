//! What one connection has subscribed to, and which heads its heartbeats name.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::wire::{Cursor, Head};

use crate::routing::ChannelHandle;
use crate::telemetry::Metrics;

/// Heads in one heartbeat that moved since the last one; the rest comes with the next.
const MOVED_MAX: usize = 256;
/// Other heads, in turn: a hole inside the server is found this way too.
const OTHERS_MAX: usize = 16;

pub(crate) struct Subscription {
    pub(crate) channel: Arc<ChannelHandle>,
    /// The head that the last heartbeat named.
    told: Cursor,
}

pub(crate) struct Subscriptions {
    channels: BTreeMap<ChannelName, Subscription>,
    /// Where the turn of the others goes on.
    turn: Option<ChannelName>,
    metrics: Arc<Metrics>,
}

impl Subscriptions {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            channels: BTreeMap::new(),
            turn: None,
            metrics,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The channels, sorted.
    pub(crate) fn names(&self) -> Vec<ChannelName> {
        self.channels.keys().cloned().collect()
    }

    pub(crate) fn channel(&self, name: &ChannelName) -> Option<&Arc<ChannelHandle>> {
        self.channels.get(name).map(|s| &s.channel)
    }

    pub(crate) fn insert(&mut self, channel: Arc<ChannelHandle>) {
        let name = channel.name.clone();
        let told = Cursor::default();
        let old = self.channels.insert(name, Subscription { channel, told });
        if old.is_none() {
            self.metrics.subscriptions.inc();
        }
    }

    pub(crate) fn remove(&mut self, name: &ChannelName) -> Option<Arc<ChannelHandle>> {
        let subscription = self.channels.remove(name)?;
        self.metrics.subscriptions.dec();
        Some(subscription.channel)
    }

    /// All of them; none is left.
    pub(crate) fn take(&mut self) -> Vec<Arc<ChannelHandle>> {
        let channels = std::mem::take(&mut self.channels);
        self.metrics.subscriptions.dec_by(channels.len() as i64);
        channels.into_values().map(|s| s.channel).collect()
    }

    /// Those whose task is gone; they are no longer subscribed.
    pub(crate) fn take_lost(&mut self) -> Vec<ChannelName> {
        let lost: Vec<ChannelName> = self
            .channels
            .iter()
            .filter(|(_, s)| s.channel.inbox.is_closed())
            .map(|(name, _)| name.clone())
            .collect();
        for name in &lost {
            self.remove(name);
        }
        lost
    }

    /// What a heartbeat names: heads that moved since the last one, and some others in turn.
    pub(crate) fn heads(&mut self) -> Vec<Head> {
        let mut heads = Vec::new();
        for (name, subscription) in &mut self.channels {
            if heads.len() == MOVED_MAX {
                break;
            }
            let head = subscription.channel.head();
            if head != subscription.told {
                subscription.told = head;
                heads.push(named(name, head));
            }
        }
        let moved = heads.len();
        let after = self.turn.take();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, subscription) in self.channels.range((from, Bound::Unbounded)) {
            if heads.len() == moved + OTHERS_MAX {
                break;
            }
            self.turn = Some(name.clone());
            let head = subscription.channel.head();
            let named_already = heads[..moved].iter().any(|h| h.channel == name.as_str());
            if head.seq > 0 && !named_already {
                heads.push(named(name, head));
            }
        }
        if self.channels.keys().next_back() == self.turn.as_ref() {
            self.turn = None;
        }
        heads
    }
}

fn named(name: &ChannelName, head: Cursor) -> Head {
    Head {
        channel: name.as_str().into(),
        cursor: Some(head),
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.metrics
            .subscriptions
            .dec_by(self.channels.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed(names: impl IntoIterator<Item = String>) -> Subscriptions {
        let mut subscriptions = Subscriptions::new(Metrics::new());
        for name in names {
            let handle = ChannelHandle::new(name.parse().unwrap());
            handle.head.send_replace(Cursor::new(1, 1, 1));
            subscriptions.insert(Arc::new(handle));
        }
        subscriptions
    }

    #[test]
    fn moved_heads_are_named_once_and_the_others_in_turn() {
        let mut subscriptions = subscribed((0..40).map(|i| format!("a:{i:02}")));
        assert_eq!(subscriptions.heads().len(), 40, "all moved from nothing");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let heads = subscriptions.heads();
            assert!(heads.len() <= OTHERS_MAX);
            seen.extend(heads.into_iter().map(|head| head.channel));
        }
        assert_eq!(seen.len(), 40, "everyone's turn comes");
    }

    #[test]
    fn a_heartbeat_is_bounded_and_the_rest_follows() {
        let mut subscriptions = subscribed((0..600).map(|i| format!("a:{i:03}")));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let heads = subscriptions.heads();
            assert!(heads.len() <= MOVED_MAX + OTHERS_MAX);
            seen.extend(heads.into_iter().map(|head| head.channel));
        }
        assert_eq!(seen.len(), 600);
    }

    #[test]
    fn a_channel_without_a_log_yet_is_not_named() {
        let mut subscriptions = Subscriptions::new(Metrics::new());
        let handle = ChannelHandle::new("a:b".parse().unwrap());
        subscriptions.insert(Arc::new(handle));
        assert_eq!(subscriptions.heads(), []);
    }

    #[test]
    fn a_subscription_whose_task_is_gone_is_found() {
        let mut subscriptions = subscribed(["a:b".into(), "a:c".into()]);
        let name: ChannelName = "a:b".parse().unwrap();
        subscriptions.channel(&name).unwrap().inbox.close();
        assert_eq!(subscriptions.take_lost(), [name]);
        assert_eq!(subscriptions.len(), 1);
    }
}
