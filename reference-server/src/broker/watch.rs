//! Wake-ups inside one process: who waits for a channel's log to grow.

use std::collections::HashMap;

use tidewire_core::ChannelName;
use tokio::sync::watch;

use super::shards::Shards;

/// Waits for one channel's log to grow.
#[derive(Debug)]
pub struct Watch {
    heads: watch::Receiver<u64>,
    seen: u64,
}

impl Watch {
    /// Resolves once the log has grown past what was seen. Cancel-safe. Never resolves when nobody
    /// can append any more.
    pub async fn changed(&mut self) {
        loop {
            let head = *self.heads.borrow_and_update();
            if head > self.seen {
                self.seen = head;
                return;
            }
            if self.heads.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Entries up to `seq` are known already, as one's own appends are.
    pub fn seen(&mut self, seq: u64) {
        self.seen = self.seen.max(seq);
    }
}

/// The newest seq of every watched channel. At most about twice as large as the number of watched
/// channels: entries without a watcher are swept whenever it has doubled, so that watching one more
/// costs the same however many there are.
#[derive(Debug, Default)]
pub(super) struct Heads {
    channels: Shards<Channels>,
}

#[derive(Debug, Default)]
struct Channels {
    heads: HashMap<ChannelName, watch::Sender<u64>>,
    /// Swept when this many are in.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 8;

impl Heads {
    pub(super) fn watch(&self, channel: &ChannelName) -> Watch {
        let mut channels = self.channels.of(channel);
        if channels.heads.len() >= channels.sweep_at {
            channels.heads.retain(|_, head| head.receiver_count() > 0);
            channels.sweep_at = (2 * channels.heads.len()).max(SWEEP_MIN);
        }
        let head = channels
            .heads
            .entry(channel.clone())
            .or_insert_with(|| watch::Sender::new(0));
        Watch {
            heads: head.subscribe(),
            seen: 0,
        }
    }

    pub(super) fn moved(&self, channel: &ChannelName, seq: u64) {
        if let Some(head) = self.channels.of(channel).heads.get(channel) {
            head.send_replace(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_channels_stay_and_those_without_a_watcher_go() {
        let heads = Heads::default();
        let kept: Vec<Watch> = (0..100)
            .map(|n| heads.watch(&format!("kept:{n}").parse().unwrap()))
            .collect();
        for n in 0..10_000 {
            drop(heads.watch(&format!("gone:{n}").parse().unwrap()));
        }
        let watched = heads.channels.all().map(|channels| channels.heads.len());
        assert!(watched.sum::<usize>() <= 2 * kept.len() + 64 * 2 * SWEEP_MIN);
        heads.moved(&"kept:7".parse().unwrap(), 3);
        assert_eq!(*kept[7].heads.borrow(), 3);
    }
}
