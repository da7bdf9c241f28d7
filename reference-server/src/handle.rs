//! A running server, for those that act on it from outside.

use std::sync::{Arc, Weak};

use tidewire_core::ChannelName;
use tidewire_core::wire::Goaway;

use crate::app::App;

/// What can be done to a server while it runs. It does not keep the server.
#[derive(Clone)]
pub(crate) struct ServerHandle(Weak<App>);

impl ServerHandle {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self(Arc::downgrade(app))
    }

    /// Whether the server still exists.
    pub(crate) fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Asks the clients of a principal, or all, to leave; says how many.
    pub(crate) fn ask_to_leave(&self, principal: Option<&str>, goaway: &Goaway) -> usize {
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

    /// Opens an epoch in a channel's log; `None` if that could not be done in time.
    pub(crate) async fn open_epoch(&self, channel: &ChannelName) -> Option<()> {
        let app = self.0.upgrade()?;
        crate::http::open_epoch(&app, channel).await
    }
}
