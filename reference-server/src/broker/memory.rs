//! The default broker: every log in this process's memory, gone with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_core::ChannelName;

use super::shards::Shards;
use super::watch::Heads;
use super::{Answer, Broker, BrokerReply, BrokerRequest, Log, Nodes, RunId, Serving, Watch};
use crate::budget::{Account, Budget, Kind};
use crate::clock;

/// Logs in memory. Its run id lives as long as it does, its clock is the process's.
///
/// What it keeps is bounded: per channel, because snapshots trim the log, in the number of channels, and
/// in bytes by the budget of the server that it was made by. Policy at that limit: channels that are there go on, a further one is not opened.
#[derive(Debug)]
pub struct MemoryBroker {
    run: RunId,
    channels_max: usize,
    budget: Option<Budget>,
    logs: Shards<HashMap<ChannelName, Arc<Mutex<Kept>>>>,
    /// How many there are.
    channels: AtomicUsize,
    heads: Heads,
    nodes: Nodes,
}

/// One channel's log.
#[derive(Debug)]
struct Kept {
    log: Log,
    /// What it holds of the budget, where there is one.
    account: Option<Account>,
}

impl MemoryBroker {
    /// An empty broker. `run` must be one that was never used before: 64 random bits.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            channels_max: usize::MAX,
            budget: None,
            logs: Shards::default(),
            channels: AtomicUsize::new(0),
            heads: Heads::default(),
            nodes: Nodes::default(),
        }
    }

    /// Bounds the number of channels that it keeps; without it, whoever may open channels may fill the memory.
    #[must_use]
    pub fn with_channels_max(mut self, channels_max: usize) -> Self {
        self.channels_max = channels_max;
        self
    }

    /// Counts what it keeps in a budget, which then decides who may write.
    pub(crate) fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// A channel's log; one that nobody has appended to is not kept: names cost nothing.
    fn log(&self, channel: &ChannelName, request: &BrokerRequest) -> Arc<Mutex<Kept>> {
        let mut logs = self.logs.of(channel);
        if let Some(log) = logs.get(channel) {
            return log.clone();
        }
        let log = Arc::new(Mutex::new(Kept {
            log: Log::new(self.run),
            account: self.budget.as_ref().map(Budget::account),
        }));
        if matches!(request, BrokerRequest::Append { .. }) {
            logs.insert(channel.clone(), log.clone());
            self.channels.fetch_add(1, Ordering::Relaxed);
        }
        log
    }
}

impl Broker for MemoryBroker {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer {
        let log = self.log(channel, &request);
        // A log's methods do not panic half-way: what a poisoned lock guards is whole.
        let mut kept = log.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { log, account } = &mut *kept;
        let reply = log.handle(request, clock::unix());
        if matches!(reply, BrokerReply::Appended) {
            self.heads.moved(channel, log.head().seq);
        }
        if let Some(account) = account {
            account.set(Kind::Log, log.bytes());
        }
        Answer::Ready(reply)
    }

    fn watch(&self, channel: &ChannelName) -> Watch {
        self.heads.watch(channel)
    }

    fn has_room(&self, channel: &ChannelName) -> bool {
        // A few that come at the same moment may be too many; that bounds all the same.
        self.channels.load(Ordering::Relaxed) < self.channels_max
            || self.logs.of(channel).contains_key(channel)
    }

    fn run_id(&self) -> RunId {
        self.run
    }

    fn join(&self) -> Option<Serving> {
        Some(self.nodes.join())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_are_only_asked_about_are_not_kept() {
        let broker = MemoryBroker::new(RunId(1));
        for n in 0..100 {
            let name = format!("a:{n}").parse().unwrap();
            broker.request(&name, BrokerRequest::Load).await;
            broker
                .request(&name, BrokerRequest::Read { after: 0 })
                .await;
        }
        assert!(broker.logs.all().all(|logs| logs.is_empty()));
        assert_eq!(broker.channels.load(Ordering::Relaxed), 0);
    }
}
