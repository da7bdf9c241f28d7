//! The application's rules with faults: some mutations are rejected before anybody looks at them.

use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Rejection};
use tidewire_core::wire::Change;

use super::Faults;
use crate::channel::{Policy, View};

/// Rules that a fault plan may be stricter than.
pub(crate) struct FaultedPolicy {
    pub(crate) inner: Arc<dyn Policy>,
    pub(crate) faults: Faults,
}

impl Policy for FaultedPolicy {
    fn initial(&self, channel: &ChannelName) -> Document {
        self.inner.initial(channel)
    }

    fn validate(
        &self,
        channel: &ChannelName,
        view: &View<'_>,
        principal: &str,
        change: &Change,
    ) -> Result<(), Rejection> {
        match self.faults.rejection(channel.as_str(), principal) {
            Some(rejection) => Err(rejection),
            None => self.inner.validate(channel, view, principal, change),
        }
    }
}
