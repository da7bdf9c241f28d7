//! What one connection has subscribed to, and which heads its heartbeats name.

use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::planted;
use tidewire_core::wire::{Cursor, Head};

use super::input::ChannelRef;
use crate::channel::Outlet;

struct Subscription<C> {
    name: ChannelName,
    task: C,
    /// How the channel reaches us.
    outlet: Arc<dyn Outlet>,
    /// The head that the last heartbeat named.
    told: Cursor,
    /// The channel has had a log since it was subscribed to.
    had_log: bool,
}

pub(super) struct Subscriptions<C> {
    /// Sorted by name. Most clients have one or a few, and a tree has room for eleven from the first on.
    channels: Vec<Subscription<C>>,
    /// Where the turn of the others goes on.
    turn: Option<ChannelName>,
}

impl<C> Default for Subscriptions<C> {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            turn: None,
        }
    }
}

impl<C: ChannelRef> Subscriptions<C> {
    pub(super) const fn len(&self) -> usize {
        self.channels.len()
    }

    /// The channels, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &ChannelName> {
        self.channels.iter().map(|s| &s.name)
    }

    pub(super) fn contains(&self, name: &ChannelName) -> bool {
        self.position(name).is_ok()
    }

    pub(super) fn task(&self, name: &ChannelName) -> Option<&C> {
        let at = self.position(name).ok()?;
        Some(&self.channels[at].task)
    }

    /// The way that the channel has already.
    pub(super) fn outlet(&self, name: &ChannelName) -> Option<Arc<dyn Outlet>> {
        let at = self.position(name).ok()?;
        Some(Arc::clone(&self.channels[at].outlet))
    }

    /// Where it is, or would be.
    fn position(&self, name: &ChannelName) -> Result<usize, usize> {
        self.channels.binary_search_by(|s| s.name.cmp(name))
    }

    pub(super) fn insert(&mut self, name: ChannelName, task: C, outlet: Arc<dyn Outlet>) {
        let position = self.position(&name);
        let subscription = Subscription {
            name,
            had_log: task.head().seq > 0,
            task,
            outlet,
            told: Cursor::default(),
        };
        match position {
            Ok(at) => self.channels[at] = subscription,
            Err(at) => {
                if self.channels.len() == self.channels.capacity() {
                    self.channels.reserve_exact(self.channels.len().max(1));
                }
                self.channels.insert(at, subscription);
            }
        }
    }

    pub(super) fn remove(&mut self, name: &ChannelName) -> Option<C> {
        let at = self.position(name).ok()?;
        Some(self.channels.remove(at).task)
    }

    /// All of them; none is left.
    pub(super) fn take(&mut self) -> Vec<(ChannelName, C)> {
        let channels = std::mem::take(&mut self.channels);
        channels.into_iter().map(|s| (s.name, s.task)).collect()
    }

    /// Those whose task is gone, or whose log, which leaves no head to name. They stay until the client subscribes again, or
    /// no more: a `lagged` that is lost on its way must not be the last word.
    pub(super) fn gone(&mut self) -> Vec<ChannelName> {
        if planted!(ReplacementUntold) {
            return Vec::new();
        }
        let mut gone = Vec::new();
        for subscription in &mut self.channels {
            let has_log = subscription.task.head().seq > 0;
            if subscription.task.is_closed() || subscription.had_log && !has_log {
                gone.push(subscription.name.clone());
            }
            subscription.had_log |= has_log;
        }
        gone
    }

    /// What a heartbeat names: heads that moved since the last one, and some others in turn.
    pub(super) fn heads(&mut self, moved_max: usize, others_max: usize) -> Vec<Head> {
        let mut heads = Vec::new();
        for subscription in &mut self.channels {
            if heads.len() == moved_max {
                break;
            }
            let head = subscription.task.head();
            if head != subscription.told {
                subscription.told = head;
                heads.push(subscription.named(head));
            }
        }
        let moved = heads.len();
        if planted!(OthersNeverNamed) {
            return heads;
        }
        let from = self.turn.take().map_or(0, |after| {
            self.channels.partition_point(|s| s.name <= after)
        });
        for subscription in &self.channels[from..] {
            if heads.len() == moved + others_max {
                break;
            }
            let name = &subscription.name;
            self.turn = Some(name.clone());
            let head = subscription.task.head();
            let named_already = heads[..moved].iter().any(|h| h.channel == name.as_str());
            if head.seq > 0 && !named_already {
                heads.push(subscription.named(head));
            }
        }
        if self.channels.last().map(|s| &s.name) == self.turn.as_ref() {
            self.turn = None;
        }
        heads
    }
}

impl<C> Subscription<C> {
    fn named(&self, head: Cursor) -> Head {
        Head {
            channel: self.name.as_str().into(),
            cursor: Some(head),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVED_MAX: usize = 256;
    const OTHERS_MAX: usize = 16;

    use super::super::tests::{FakeTask, subscriber};

    fn outlet() -> Arc<dyn Outlet> {
        subscriber().outlet
    }

    fn subscribed(names: impl IntoIterator<Item = String>) -> Subscriptions<FakeTask> {
        let mut subscriptions = Subscriptions::default();
        for name in names {
            let task = FakeTask::default();
            task.set_head(Cursor::new(1, 1, 1));
            subscriptions.insert(name.parse().unwrap(), task, outlet());
        }
        subscriptions
    }

    #[test]
    fn moved_heads_are_named_once_and_the_others_in_turn() {
        let mut subscriptions = subscribed((0..40).map(|i| format!("a:{i:02}")));
        assert_eq!(
            subscriptions.heads(MOVED_MAX, OTHERS_MAX).len(),
            40,
            "all moved from nothing"
        );
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let heads = subscriptions.heads(MOVED_MAX, OTHERS_MAX);
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
            let heads = subscriptions.heads(MOVED_MAX, OTHERS_MAX);
            assert!(heads.len() <= MOVED_MAX + OTHERS_MAX);
            seen.extend(heads.into_iter().map(|head| head.channel));
        }
        assert_eq!(seen.len(), 600);
    }

    #[test]
    fn a_channel_without_a_log_yet_is_not_named() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.insert("a:b".parse().unwrap(), FakeTask::default(), outlet());
        assert_eq!(subscriptions.heads(MOVED_MAX, OTHERS_MAX), []);
    }

    #[test]
    fn a_subscription_whose_task_is_gone_is_found_until_it_is_renewed() {
        let mut subscriptions = subscribed(["a:b".into(), "a:c".into()]);
        let name: ChannelName = "a:b".parse().unwrap();
        subscriptions.task(&name).unwrap().close();
        for _ in 0..2 {
            assert_eq!(subscriptions.gone(), std::slice::from_ref(&name));
        }
        subscriptions.insert(name, FakeTask::default(), outlet());
        assert!(subscriptions.gone().is_empty());
    }

    #[test]
    fn so_is_one_whose_log_is_gone() {
        let mut subscriptions = subscribed(["a:b".into()]);
        let name: ChannelName = "a:b".parse().unwrap();
        // It has a log only later.
        subscriptions.insert("a:c".parse().unwrap(), FakeTask::default(), outlet());
        assert!(subscriptions.gone().is_empty());
        subscriptions
            .task(&name)
            .unwrap()
            .set_head(Cursor::default());
        for _ in 0..2 {
            assert_eq!(subscriptions.gone(), std::slice::from_ref(&name));
        }
        subscriptions.insert(name, FakeTask::default(), outlet());
        assert!(subscriptions.gone().is_empty());
    }
}
