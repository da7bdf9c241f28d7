//! A broker of one's own, in one file: what the reference server asks of the place where it keeps its logs.
//!
//! This one keeps them in ordered maps, so that nothing hides the rules. A broker over a database or a message
//! system has the same methods, with the maps elsewhere; `tests/conformance.rs` is the test that it needs as well.
//!
//! ```no_run
//! use std::sync::Arc;
//! use broker_example::MapBroker;
//! use tidewire_server::{Config, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.dev_auth = true;
//! let server = Server::builder(config).broker(Arc::new(MapBroker::new(0x7f3a_11c2))).build()?;
//! # Ok(()) }
//! ```

mod log;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidewire_server::broker::{
    Answer, Broker, BrokerReply, BrokerRequest, Inbox, Inboxes, Letter, Listed, Listeners, NodeId,
    RunId, Sent, Unavailable, Watch,
};
use tidewire_server::{ChannelName, ChannelPattern};

use log::ChannelLog;

/// Logs in one ordered map.
///
/// It answers at once. A broker that has to wait returns [`Answer::later`], and lets nobody wait for a lock.
#[derive(Debug)]
pub struct MapBroker {
    /// `None`: closed.
    logs: Mutex<Option<BTreeMap<ChannelName, ChannelLog>>>,
    /// One for all channels, since all of them are lost together.
    run: RunId,
    /// All nodes are in this process: who watches can be woken directly. A broker between processes calls these from
    /// what it hears of the others.
    listeners: Listeners,
    inboxes: Inboxes,
}

impl MapBroker {
    /// An empty one. `run` are 64 random bits: clients and nodes see by them that it is not the one before.
    #[must_use]
    pub fn new(run: u64) -> Self {
        Self {
            logs: Mutex::new(Some(BTreeMap::new())),
            run: RunId(run),
            listeners: Listeners::default(),
            inboxes: Inboxes::default(),
        }
    }

    fn logs(&self) -> MutexGuard<'_, Option<BTreeMap<ChannelName, ChannelLog>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<(), Unavailable> {
        match *self.logs() {
            Some(_) => Ok(()),
            None => Err(closed()),
        }
    }
}

impl Broker for MapBroker {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer<BrokerReply> {
        // One lock around comparison and append: that is all that safety rests on.
        let mut logs = self.logs();
        let Some(logs) = &mut *logs else {
            let detail = closed().detail;
            return Answer::Ready(BrokerReply::Failed { detail });
        };
        let is_append = matches!(request, BrokerRequest::Append { .. });
        let log = match logs.get_mut(channel) {
            Some(log) => log,
            // Whoever only asks leaves no trace: names cost nothing.
            None if !is_append => &mut ChannelLog::default(),
            None => logs.entry(channel.clone()).or_default(),
        };
        let before = log.head().seq;
        let reply = log.handle(request, self.run);
        let now = log.head().seq;
        if now == 0 {
            logs.remove(channel);
        }
        if matches!(reply, BrokerReply::Appended) {
            self.listeners.grown(channel, before, now);
        }
        Answer::Ready(reply)
    }

    fn watch(&self, channels: &ChannelPattern) -> Watch {
        self.listeners.watch(channels)
    }

    fn publish(&self, channel: &ChannelName, message: Bytes) -> Answer<Result<(), Unavailable>> {
        Answer::Ready(
            self.open()
                .map(|()| self.listeners.published(channel, &message)),
        )
    }

    fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>> {
        Answer::Ready(self.open().map(|()| self.inboxes.open(node)))
    }

    fn send(&self, node: NodeId, letter: Letter) -> Answer<Result<Sent, Unavailable>> {
        Answer::Ready(self.open().map(|()| self.inboxes.send(node, letter)))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Answer<Result<Listed, Unavailable>> {
        let logs = self.logs();
        let Some(logs) = &*logs else {
            return Answer::Ready(Err(closed()));
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut names = logs
            .range::<ChannelName, _>((from, Bound::Unbounded))
            .map(|(name, _)| name)
            .filter(|name| name.as_str().starts_with(prefix));
        let channels = names.by_ref().take(limit.max(1)).cloned().collect();
        let more = names.next().is_some();
        Answer::Ready(Ok(Listed { channels, more }))
    }

    fn health(&self) -> Answer<Result<(), Unavailable>> {
        Answer::Ready(self.open())
    }

    fn close(&self) -> Answer<()> {
        *self.logs() = None;
        self.inboxes.close();
        Answer::Ready(())
    }
}

fn closed() -> Unavailable {
    let detail = "it is closed".into();
    Unavailable { detail }
}
