//! Wake-ups inside one process: who waits for a channel's log to grow.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewire_core::ChannelName;
use tokio::sync::watch;

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

/// The newest seq of every watched channel. As large as the number of watched channels; entries go
/// when their last watcher has gone.
#[derive(Debug, Default)]
pub(super) struct Heads {
    channels: Mutex<HashMap<ChannelName, watch::Sender<u64>>>,
}

impl Heads {
    pub(super) fn watch(&self, channel: &ChannelName) -> Watch {
        let mut channels = self.lock();
        channels.retain(|_, head| head.receiver_count() > 0);
        let head = channels
            .entry(channel.clone())
            .or_insert_with(|| watch::Sender::new(0));
        Watch {
            heads: head.subscribe(),
            seen: 0,
        }
    }

    pub(super) fn moved(&self, channel: &ChannelName, seq: u64) {
        if let Some(head) = self.lock().get(channel) {
            head.send_replace(seq);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, watch::Sender<u64>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
