//! Hands inputs to the channels of this node, and starts the task of one that does not run.
//!
//! A channel has at most one task here. It starts with the first input and ends when nobody has used
//! it for a while.

use std::sync::Arc;

use tidewire_core::ChannelName;

use crate::channel::{ChannelInput, PeerId};
use crate::connection::{Posted, To};
use crate::driver::{Driver, DriverParts};
use crate::inbox::Refused;
use crate::registry::{Mailbox, Registry, TooManyChannels};

/// What became of an input at once.
pub(crate) enum Attempt {
    Done(Posted<Arc<Mailbox>>),
    /// There is no room; the input comes back.
    Full(Arc<Mailbox>, ChannelInput),
}

/// All channels of this node.
pub(crate) struct Channels {
    registry: Arc<Registry>,
    parts: DriverParts,
}

impl Channels {
    pub(crate) fn new(parts: DriverParts) -> Self {
        let config = &parts.config;
        let metrics = Arc::clone(&parts.metrics);
        let registry = Registry::new(config.channels_max, &config.bounds, metrics);
        Self {
            registry: Arc::new(registry),
            parts,
        }
    }

    /// The channel's task, if it runs.
    pub(crate) fn find(&self, name: &ChannelName) -> Option<Arc<Mailbox>> {
        self.registry.find(name)
    }

    /// The channel's task; started if it does not run.
    pub(crate) fn route(&self, name: &ChannelName) -> Result<Arc<Mailbox>, TooManyChannels> {
        self.registry.find_or_start(name, |mailbox| {
            let driver = Driver::new(Arc::clone(&self.registry), mailbox, &self.parts);
            tokio::spawn(Box::new(driver).run());
        })
    }

    /// Hands an input to a channel if there is room.
    pub(crate) fn try_post(&self, to: To<Arc<Mailbox>>, input: ChannelInput) -> Attempt {
        let mailbox = match to {
            To::Task(mailbox) => mailbox,
            To::Running(name) => match self.find(&name) {
                Some(mailbox) => mailbox,
                None => return Attempt::Done(Posted::Closed(input)),
            },
            To::Start { name, last } => match last.map_or_else(|| self.route(&name), Ok) {
                Ok(mailbox) => mailbox,
                Err(TooManyChannels) => return Attempt::Done(Posted::TooMany),
            },
        };
        match mailbox.inbox.try_push(input) {
            Ok(()) => Attempt::Done(Posted::Taken(mailbox)),
            Err(Refused::Full(back)) => Attempt::Full(mailbox, back),
            Err(Refused::Closed(back)) => Attempt::Done(Posted::Closed(back)),
        }
    }

    /// Hands in what goes in whether there is room or not. A channel that does not run is not started.
    pub(crate) fn post_always(&self, to: To<Arc<Mailbox>>, input: ChannelInput) {
        let mailbox = match to {
            To::Task(mailbox) => Some(mailbox),
            To::Running(name) | To::Start { name, .. } => self.find(&name),
        };
        if let Some(mailbox) = mailbox {
            // Whoever is gone need not know.
            let _ = mailbox.inbox.push_always(input);
        }
    }

    /// A channel whose message was refused may go on.
    pub(crate) fn tell_drained(&self, name: &ChannelName, peer: PeerId) {
        let drained = ChannelInput::Drained { conn: peer };
        self.post_always(To::Running(name.clone()), drained);
    }

    pub(crate) fn count(&self) -> usize {
        self.registry.count()
    }

    /// Ends every task once nothing is under way in it, and waits for that.
    pub(crate) async fn stop(&self) {
        self.registry.stop().await;
    }
}
