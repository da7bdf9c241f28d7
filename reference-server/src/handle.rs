//! A running server, for those that act on it from outside.

use std::sync::{Arc, Weak};

use tidewire_core::ChannelName;
use tidewire_core::wire::Goaway;

use crate::app::App;
use crate::decisions;
use crate::faults::{Done, Target};

/// What can be done to a server while it runs. It does not keep the server.
pub(crate) struct ServerHandle(Weak<App>);

impl ServerHandle {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self(Arc::downgrade(app))
    }
}

impl Target for ServerHandle {
    fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    fn ask_to_leave(&self, principal: Option<&str>, goaway: &Goaway) -> usize {
        let Some(app) = self.0.upgrade() else {
            return 0;
        };
        let mut peers = app.connections.all();
        peers.retain(|peer| peer.is_of(principal));
        for peer in &peers {
            peer.ask_to_leave(goaway.clone());
        }
        peers.len()
    }

    fn open_epoch<'a>(&'a self, channel: &'a ChannelName) -> Done<'a> {
        Box::pin(async move {
            let app = self.0.upgrade()?;
            decisions::open_epoch(&app, channel).await
        })
    }
}
