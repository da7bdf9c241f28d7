//! What brokers of one process have in common: who follows what, the nodes' inboxes, and whether it is closed.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tidewire_core::ChannelName;

use super::inbox::{Inbox, Inboxes, Letter, Sent};
use super::listeners::Listeners;
use super::wake::Watch;
use super::{Answer, Unavailable};
use crate::channel_pattern::ChannelPattern;
use crate::log::NodeId;

/// What is said of requests that come too late.
pub(super) const CLOSED: &str = "the broker is closed";

/// The part of a broker that knows of no log. Nobody outside of this process uses it.
#[derive(Debug, Default)]
pub(super) struct Local {
    listeners: Listeners,
    inboxes: Inboxes,
    is_closed: AtomicBool,
}

impl Local {
    /// An error once it is closed.
    pub(super) fn open(&self) -> Result<(), Unavailable> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(Unavailable {
                detail: CLOSED.into(),
            }),
            false => Ok(()),
        }
    }

    pub(super) fn watch(&self, channels: &ChannelPattern) -> Watch {
        self.listeners.watch(channels)
    }

    /// A channel's log has grown from `after` to `seq`.
    pub(super) fn grown(&self, channel: &ChannelName, after: u64, seq: u64) {
        self.listeners.grown(channel, after, seq);
    }

    pub(super) fn publish(
        &self,
        channel: &ChannelName,
        message: &Bytes,
    ) -> Answer<Result<(), Unavailable>> {
        let open = self.open();
        if open.is_ok() {
            self.listeners.published(channel, message);
        }
        Answer::Ready(open)
    }

    pub(super) fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>> {
        Answer::Ready(self.open().map(|()| self.inboxes.open(node)))
    }

    pub(super) fn send(&self, node: NodeId, letter: Letter) -> Answer<Result<Sent, Unavailable>> {
        Answer::Ready(self.open().map(|()| self.inboxes.send(node, letter)))
    }

    /// From now on it is closed; inboxes end.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.inboxes.close();
    }
}
