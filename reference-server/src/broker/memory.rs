//! The default broker: every log in this process's memory, gone with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_core::ChannelName;

use super::watch::Heads;
use super::{Answer, Broker, BrokerReply, BrokerRequest, Log, RunId, Watch};

/// Logs in memory. Its run id lives as long as it does.
///
/// What it keeps is bounded per channel (snapshots trim the log), not in the number of channels:
/// like a disk it is full when it is full.
#[derive(Debug)]
pub struct MemoryBroker {
    run: RunId,
    logs: Mutex<HashMap<ChannelName, Arc<Mutex<Log>>>>,
    heads: Heads,
}

impl MemoryBroker {
    /// An empty broker. `run` must be one that was never used before: 64 random bits.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            logs: Mutex::new(HashMap::new()),
            heads: Heads::default(),
        }
    }

    fn log(&self, channel: &ChannelName) -> Arc<Mutex<Log>> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        match logs.get(channel) {
            Some(log) => log.clone(),
            None => logs
                .entry(channel.clone())
                .or_insert_with(|| Arc::new(Mutex::new(Log::new(self.run))))
                .clone(),
        }
    }
}

impl Broker for MemoryBroker {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer {
        let log = self.log(channel);
        // A log's methods do not panic half-way: what a poisoned lock guards is whole.
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = log.handle(request);
        if matches!(reply, BrokerReply::Appended) {
            self.heads.moved(channel, log.head().seq);
        }
        Box::pin(std::future::ready(reply))
    }

    fn watch(&self, channel: &ChannelName) -> Watch {
        self.heads.watch(channel)
    }

    fn run_id(&self) -> RunId {
        self.run
    }
}
