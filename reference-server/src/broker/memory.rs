//! The default broker: every log in this process's memory, gone with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_core::ChannelName;

use bytes::Bytes;

use super::local::Local;
use super::shards::Shards;
use super::{
    Answer, Broker, BrokerReply, BrokerRequest, Inbox, Letter, Listed, Log, NodeId, Nodes, RunId,
    Sent, Serving, Unavailable, Watch,
};
use crate::budget::{Account, Budget, Kind};
use crate::channel_pattern::ChannelPattern;
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
    nodes: Nodes,
    local: Local,
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
            nodes: Nodes::default(),
            local: Local::default(),
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

    /// Looks at every name; never keeps more than `limit` and one.
    fn list_now(&self, prefix: &str, after: Option<&ChannelName>, limit: usize) -> Listed {
        let mut first = BTreeSet::new();
        for logs in self.logs.all() {
            for name in logs.keys() {
                if name.as_str().starts_with(prefix) && after.is_none_or(|after| name > after) {
                    first.insert(name.clone());
                    if first.len() > limit + 1 {
                        first.pop_last();
                    }
                }
            }
        }
        let more = first.len() > limit;
        Listed {
            channels: first.into_iter().take(limit).collect(),
            more,
        }
    }
}

impl Broker for MemoryBroker {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer<BrokerReply> {
        if let Err(Unavailable { detail }) = self.local.open() {
            return Answer::Ready(BrokerReply::Failed { detail });
        }
        let log = self.log(channel, &request);
        // A log's methods do not panic half-way: what a poisoned lock guards is whole.
        let mut kept = log.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { log, account } = &mut *kept;
        let before = log.head().seq;
        let reply = log.handle(request, clock::unix());
        if matches!(reply, BrokerReply::Appended) {
            self.local.grown(channel, before, log.head().seq);
        }
        if let Some(account) = account {
            account.set(Kind::Log, log.bytes());
        }
        Answer::Ready(reply)
    }

    fn watch(&self, channels: &ChannelPattern) -> Watch {
        self.local.watch(channels)
    }

    fn publish(&self, channel: &ChannelName, message: Bytes) -> Answer<Result<(), Unavailable>> {
        self.local.publish(channel, &message)
    }

    fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>> {
        self.local.inbox(node)
    }

    fn send(&self, node: NodeId, letter: Letter) -> Answer<Result<Sent, Unavailable>> {
        self.local.send(node, letter)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Answer<Result<Listed, Unavailable>> {
        Answer::Ready(
            self.local
                .open()
                .map(|()| self.list_now(prefix, after, limit.max(1))),
        )
    }

    fn health(&self) -> Answer<Result<(), Unavailable>> {
        Answer::Ready(self.local.open())
    }

    fn close(&self) -> Answer<()> {
        self.local.close();
        Answer::Ready(())
    }

    fn has_room(&self, channel: &ChannelName) -> bool {
        // A few that come at the same moment may be too many; that bounds all the same.
        self.channels.load(Ordering::Relaxed) < self.channels_max
            || self.logs.of(channel).contains_key(channel)
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
