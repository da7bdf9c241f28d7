//! What an application decides about a channel's contents.

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Record, Rejection};
use tidewire_core::wire::Change;

/// What an application decides about a channel's contents.
pub trait Policy: Send + Sync {
    /// The records that a new channel starts with.
    fn initial(&self, channel: &ChannelName) -> Document;

    /// Called for every change before it is applied; an error rejects the whole mutation.
    fn validate(
        &self,
        channel: &ChannelName,
        view: &View<'_>,
        principal: &str,
        change: &Change,
    ) -> Result<(), Rejection>;
}

/// The state that a change meets: the log plus what was accepted before it in the same turn and mutation.
pub struct View<'a> {
    lookup: &'a dyn Fn(&str, &str) -> Option<Record>,
}

impl<'a> View<'a> {
    pub(super) const fn new(lookup: &'a dyn Fn(&str, &str) -> Option<Record>) -> Self {
        Self { lookup }
    }

    /// A record, if it exists.
    #[must_use]
    pub fn record(&self, collection: &str, id: &str) -> Option<Record> {
        (self.lookup)(collection, id)
    }
}
