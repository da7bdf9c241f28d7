//! News on their way to whoever listens: addressed under the lock, delivered once it is free.

use std::sync::Arc;

use tidewire_core::document::RecordKey;
use tidewire_core::{ConnectionState, MutationStatus};
use tokio::sync::watch;

use crate::channel::ChannelEvent;
use crate::decoded::{AnyRecord, Decoded};
use crate::state::Shared;
use crate::subscription::Hub;

/// Where a channel's news go.
pub(crate) struct News {
    /// Says that the status changed; the session knows to what.
    pub(crate) status: watch::Sender<()>,
    pub(crate) hub: Hub,
}

/// News with its addressee. What is dropped with it may run the application's code.
pub(crate) enum Delivery {
    Connection(ConnectionState),
    Status(Arc<News>),
    Event(Arc<News>, ChannelEvent),
    Changed(Arc<News>, Vec<RecordKey>, Vec<AnyRecord>),
    Presence(Arc<News>),
    Mutation(watch::Sender<MutationStatus>, MutationStatus),
    LetGo(Arc<News>, Decoded),
}

impl Delivery {
    pub(crate) fn deliver(self, shared: &Shared) {
        match self {
            Self::Connection(state) => {
                shared.connection.send_replace(state);
            }
            Self::Status(news) => {
                news.status.send_replace(());
            }
            Self::Event(news, event) => news.hub.publish_event(&event),
            Self::Changed(news, records, stale) => {
                drop(stale);
                news.hub.publish_changes(&records);
            }
            Self::Presence(news) => news.hub.publish_presence(),
            Self::Mutation(sender, status) => {
                sender.send_replace(status);
            }
            Self::LetGo(news, decoded) => {
                drop(decoded);
                news.hub.end();
            }
        }
    }
}
