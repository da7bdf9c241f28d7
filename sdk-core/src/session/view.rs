//! What an application reads of a session: nothing here changes it.

use std::sync::Arc;

use super::Session;
use super::phase::Phase;
use crate::channel::{ChannelDelay, ChannelId, ChannelState, ChannelStatus, StreamCounts};
use crate::connect::TransportVerdict;
use crate::document::{Document, Record};
use crate::io::{ConnId, ConnectionState};
use crate::mutation::{Durability, MutationHandle, MutationStatus, Opened};
use crate::wire::{Cursor, Peer};

impl Session {
    /// Which transports were of no use here, and until when they are tried last: what [`crate::Config::verdicts`] takes.
    #[must_use]
    pub fn verdicts(&self) -> Vec<TransportVerdict> {
        self.chain.verdicts()
    }

    /// A record as it looks with every pending mutation applied.
    #[must_use]
    pub fn record(&self, channel: ChannelId, collection: &str, id: &str) -> Option<&Record> {
        self.channels.get(&channel)?.view.record(collection, id)
    }

    /// The ids of a collection's visible records, sorted.
    #[must_use]
    pub fn ids(&self, channel: ChannelId, collection: &str) -> Vec<Arc<str>> {
        self.channels
            .get(&channel)
            .map(|channel| channel.view.ids(collection))
            .unwrap_or_default()
    }

    /// The collections that have a visible record, sorted.
    #[must_use]
    pub fn collections(&self, channel: ChannelId) -> Vec<Arc<str>> {
        self.channels
            .get(&channel)
            .map(|channel| channel.view.collections())
            .unwrap_or_default()
    }

    /// A copy of the whole view. Costs as much as the document is large.
    #[must_use]
    pub fn document(&self, channel: ChannelId) -> Option<Document> {
        Some(self.channels.get(&channel)?.view.to_document())
    }

    /// Whether a mutation of this record waits for the server.
    #[must_use]
    pub fn is_pending(&self, channel: ChannelId, collection: &str, id: &str) -> bool {
        self.channels
            .get(&channel)
            .is_some_and(|channel| channel.view.is_pending(collection, id))
    }

    /// How many mutations of a channel have no stored outcome yet.
    #[must_use]
    pub fn pending(&self, channel: ChannelId) -> usize {
        self.channels
            .get(&channel)
            .map_or(0, |channel| match crate::planted!(PendingMiscounted) {
                true => channel.queue.len(),
                false => channel.queue.undecided(),
            })
    }

    /// A channel's state.
    #[must_use]
    pub fn status(&self, channel: ChannelId) -> Option<&ChannelStatus> {
        Some(&self.channels.get(&channel)?.status)
    }

    /// Why a channel is loading or stale, if the server gives no answer for now.
    #[must_use]
    pub fn delay(&self, channel: ChannelId) -> Option<&ChannelDelay> {
        self.channels.get(&channel)?.delay()
    }

    /// Where a channel's subscription stands. For diagnosis; [`Self::status`] is what people see.
    #[must_use]
    pub fn state(&self, channel: ChannelId) -> Option<ChannelState> {
        Some(self.channels.get(&channel)?.state())
    }

    /// The last own number that a channel's base is known to have decided. For diagnosis.
    #[must_use]
    pub fn decided_through(&self, channel: ChannelId) -> Option<u64> {
        Some(self.channels.get(&channel)?.decided_through())
    }

    /// What a channel's stream has met since it was opened. For diagnosis.
    #[must_use]
    pub fn stream_counts(&self, channel: ChannelId) -> Option<StreamCounts> {
        Some(self.channels.get(&channel)?.counts())
    }

    /// How far the base of a channel has come.
    #[must_use]
    pub fn cursor(&self, channel: ChannelId) -> Option<Cursor> {
        self.channels.get(&channel)?.applied()
    }

    /// Who else is present, by peer number.
    #[must_use]
    pub fn peers(&self, channel: ChannelId) -> Vec<&Peer> {
        self.channels
            .get(&channel)
            .map(|channel| channel.peers().collect())
            .unwrap_or_default()
    }

    /// The connection's state.
    #[must_use]
    pub const fn connection(&self) -> &ConnectionState {
        &self.state
    }

    /// The links that the server has welcomed: the current one, then the next one while the session moves.
    /// For diagnosis.
    #[must_use]
    pub fn welcomed_links(&self) -> Vec<ConnId> {
        let Phase::Linked(links) = &self.phase else {
            return Vec::new();
        };
        let welcomed = links.each().filter(|link| link.welcomed().is_some());
        welcomed.map(|link| link.conn).collect()
    }

    /// The link that carries a channel's stream. For diagnosis.
    #[must_use]
    pub fn stream_link(&self, channel: ChannelId) -> Option<ConnId> {
        self.channels.get(&channel)?.link()
    }

    /// How often a channel was looked at so far. For diagnosis: an input costs by the channels that it
    /// concerns.
    #[must_use]
    pub const fn channel_visits(&self) -> u64 {
        self.attention.visits
    }

    /// What the outbox's store is, once it is open; with it this client has its id.
    #[must_use]
    pub const fn store(&self) -> Option<&Opened> {
        self.store.as_ref()
    }

    /// Who the server says we are, once welcomed.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// What unsent mutations survive.
    #[must_use]
    pub fn durability(&self) -> Durability {
        let store = self.store.as_ref();
        store.map_or(self.config.durability, |store| store.durability)
    }

    /// Where a mutation stands, also after its end: the newest 1,000 outcomes are remembered.
    #[must_use]
    pub fn mutation_status(&self, handle: MutationHandle) -> Option<&MutationStatus> {
        self.ended.status(handle).or_else(|| {
            let mut channels = self.channels.values();
            let row = channels.find_map(|channel| channel.queue.row(handle))?;
            Some(&row.status)
        })
    }
}
