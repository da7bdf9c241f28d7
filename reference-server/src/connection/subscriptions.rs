//! What one connection has subscribed to, and which heads its heartbeats name.

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
    /// Sorted by name. Most clients have one or a few, and a tree has room for eleven from the first on.
    channels: Vec<Subscription>,
    /// Where the turn of the others goes on.
    turn: Option<ChannelName>,
    metrics: Arc<Metrics>,
}

impl Subscriptions {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            channels: Vec::new(),
            turn: None,
            metrics,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The channels, sorted.
    pub(crate) fn names(&self) -> Vec<ChannelName> {
        self.channels.iter().map(|s| s.name().clone()).collect()
    }

    pub(crate) fn channel(&self, name: &ChannelName) -> Option<&Arc<ChannelHandle>> {
        let at = self.position(name).ok()?;
        Some(&self.channels[at].channel)
    }

    /// Where it is, or would be.
    fn position(&self, name: &ChannelName) -> Result<usize, usize> {
        self.channels.binary_search_by(|s| s.name().cmp(name))
    }

    pub(crate) fn insert(&mut self, channel: Arc<ChannelHandle>) {
        let position = self.position(&channel.name);
        let told = Cursor::default();
        let subscription = Subscription { channel, told };
        match position {
            Ok(at) => self.channels[at] = subscription,
            Err(at) => {
                if self.channels.len() == self.channels.capacity() {
                    self.channels.reserve_exact(self.channels.len().max(1));
                }
                self.channels.insert(at, subscription);
                self.metrics.subscriptions.inc();
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &ChannelName) -> Option<Arc<ChannelHandle>> {
        let at = self.position(name).ok()?;
        let subscription = self.channels.remove(at);
        self.metrics.subscriptions.dec();
        Some(subscription.channel)
    }

    /// All of them; none is left.
    pub(crate) fn take(&mut self) -> Vec<Arc<ChannelHandle>> {
        let channels = std::mem::take(&mut self.channels);
        self.metrics.subscriptions.dec_by(channels.len() as i64);
        channels.into_iter().map(|s| s.channel).collect()
    }

    /// Those whose task is gone; they are no longer subscribed.
    pub(crate) fn take_lost(&mut self) -> Vec<ChannelName> {
        let lost: Vec<ChannelName> = self
            .channels
            .iter()
            .filter(|s| s.channel.inbox.is_closed())
            .map(|s| s.name().clone())
            .collect();
        for name in &lost {
            self.remove(name);
        }
        lost
    }

    /// What a heartbeat names: heads that moved since the last one, and some others in turn.
    pub(crate) fn heads(&mut self) -> Vec<Head> {
        let mut heads = Vec::new();
        for subscription in &mut self.channels {
            if heads.len() == MOVED_MAX {
                break;
            }
            let head = subscription.channel.head();
            if head != subscription.told {
                subscription.told = head;
                heads.push(subscription.named(head));
            }
        }
        let moved = heads.len();
        let from = self.turn.take().map_or(0, |after| {
            self.channels.partition_point(|s| *s.name() <= after)
        });
        for subscription in &self.channels[from..] {
            if heads.len() == moved + OTHERS_MAX {
                break;
            }
            let name = subscription.name();
            self.turn = Some(name.clone());
            let head = subscription.channel.head();
            let named_already = heads[..moved].iter().any(|h| h.channel == name.as_str());
            if head.seq > 0 && !named_already {
                heads.push(subscription.named(head));
            }
        }
        if self.channels.last().map(Subscription::name) == self.turn.as_ref() {
            self.turn = None;
        }
        heads
    }
}

impl Subscription {
    fn name(&self) -> &ChannelName {
        &self.channel.name
    }

    fn named(&self, head: Cursor) -> Head {
        Head {
            channel: self.name().as_str().into(),
            cursor: Some(head),
        }
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
