//! Who follows what inside one process. Brokers of one process need no more; others wake these from what they hear.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use tidewire_core::ChannelName;

use super::shards::Shards;
use super::wake::{Wake, Watch};
use crate::channel_pattern::ChannelPattern;

/// The followers of this process, by channel and by pattern.
///
/// At most about twice as many are kept as there are: those that have gone are swept whenever a part has doubled,
/// so that one more costs the same however many there are.
#[derive(Debug, Default)]
pub struct Listeners {
    channels: Shards<Channels>,
    patterns: RwLock<Vec<(ChannelPattern, Wake)>>,
    /// How many patterns there are: without any, an append takes no lock for them.
    patterns_len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Channels {
    wakes: HashMap<ChannelName, Vec<Wake>>,
    /// Swept when this many are in.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 8;

impl Listeners {
    /// One more follower.
    #[must_use]
    pub fn watch(&self, channels: &ChannelPattern) -> Watch {
        let (wake, watch) = Wake::pair();
        match channels {
            ChannelPattern::Name(name) => self.channels.of(name).add(name, wake),
            pattern => {
                let patterns = self.patterns.write();
                let mut patterns = patterns.unwrap_or_else(PoisonError::into_inner);
                patterns.retain(|(_, wake)| wake.is_watched());
                patterns.push((pattern.clone(), wake));
                self.patterns_len.store(patterns.len(), Ordering::Release);
            }
        }
        watch
    }

    /// A channel's log has grown from `after` to `seq`.
    pub fn grown(&self, channel: &ChannelName, after: u64, seq: u64) {
        self.each(channel, |wake| wake.grown(channel, after, seq));
    }

    /// Somebody has published something on a channel.
    pub fn published(&self, channel: &ChannelName, message: &Bytes) {
        self.each(channel, |wake| wake.published(channel, message.clone()));
    }

    fn each(&self, channel: &ChannelName, tell: impl Fn(&Wake)) {
        if let Some(wakes) = self.channels.of(channel).wakes.get(channel) {
            wakes.iter().for_each(&tell);
        }
        if self.patterns_len.load(Ordering::Acquire) > 0 {
            let patterns = self.patterns.read();
            let patterns = patterns.unwrap_or_else(PoisonError::into_inner);
            for (pattern, wake) in patterns.iter() {
                if pattern.matches(channel) {
                    tell(wake);
                }
            }
        }
    }
}

impl Channels {
    fn add(&mut self, name: &ChannelName, wake: Wake) {
        if self.wakes.len() >= self.sweep_at {
            self.wakes
                .retain(|_, wakes| wakes.iter().any(Wake::is_watched));
            self.sweep_at = (2 * self.wakes.len()).max(SWEEP_MIN);
        }
        let wakes = self.wakes.entry(name.clone()).or_default();
        wakes.retain(Wake::is_watched);
        wakes.push(wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_stay_and_those_that_have_gone_are_swept() {
        let listeners = Listeners::default();
        let name = |text: String| ChannelPattern::Name(text.parse().unwrap());
        let kept: Vec<Watch> = (0..100)
            .map(|n| listeners.watch(&name(format!("kept:{n}"))))
            .collect();
        for n in 0..10_000 {
            drop(listeners.watch(&name(format!("gone:{n}"))));
            drop(listeners.watch(&name("kept:7".into())));
            drop(listeners.watch(&"gone:*".parse().unwrap()));
        }
        let channels = listeners.channels.all().map(|channels| {
            let followers = channels.wakes.values().map(Vec::len);
            followers.sum::<usize>()
        });
        assert!(channels.sum::<usize>() <= 2 * kept.len() + 64 * 2 * SWEEP_MIN);
        assert_eq!(listeners.patterns_len.load(Ordering::Acquire), 1);
    }
}
