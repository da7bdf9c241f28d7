//! What is decided about a channel from outside: that it exists, that it is deleted, that its log goes on in
//! another epoch. Each is done once the log has grown by it.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::ChannelName;
use tidewire_core::wire::Cursor;

use crate::app::App;
use crate::channel::{ChannelInput, Message, Outlet, OutletFull, Subscriber, prove};
use crate::log::Author;
use crate::registry::Mailbox;

/// How long the broker may take to make a decision durable before the operator is told.
const DECISION_TIMEOUT: Duration = Duration::from_secs(10);
/// A channel opens one epoch in 10 s for a claim; the second one waits that long.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens a channel that does not exist; `None` if that could not be done in time.
pub(crate) async fn open(app: &App, name: &ChannelName) -> Option<()> {
    // A channel comes to exist with its first subscriber, so there is one for a moment.
    visit(app, name, 0, DECISION_TIMEOUT).await
}

/// Deletes a channel that exists; `None` if that could not be done in time.
pub(crate) async fn delete(app: &App, name: &ChannelName) -> Option<()> {
    decided(app, name, DECISION_TIMEOUT, || ChannelInput::Delete)
        .await
        .map(|_| ())
}

/// Opens an epoch in a channel's log, which goes on in it; `None` if that could not be done in time.
pub(crate) async fn open_epoch(app: &App, name: &ChannelName) -> Option<()> {
    app.config.namespace(name.namespace())?;
    if app.channels.route(name).ok()?.head().seq == 0 {
        open(app, name).await?;
    }
    // A store that claims to have seen a higher epoch is what makes a channel open one.
    let seen = app.channels.route(name).ok()?.head().epoch;
    visit(app, name, seen + 1, EPOCH_TIMEOUT).await
}

/// Subscribes for a moment, with what a store would claim, and waits until the log has grown by it.
async fn visit(app: &App, name: &ChannelName, max_epoch: u64, within: Duration) -> Option<()> {
    let conn = app.connections.next_conn();
    let subscribe = || ChannelInput::Subscribe {
        subscriber: Subscriber {
            conn,
            peer: conn.0,
            principal: "admin".into(),
            author: Author([0; 16]),
            outlet: Arc::new(Nowhere),
            rights: Arc::new(true),
        },
        have: None,
        max_epoch,
        proof: prove(&app.config.epoch_keys, name.as_str(), max_epoch),
    };
    let visited = decided(app, name, within, subscribe).await;
    if let Some(channel) = app.channels.find(name) {
        // A channel that is gone has nobody subscribed.
        let _ = channel.inbox.push_always(ChannelInput::Unsubscribe {
            conn,
            cleanly: true,
        });
    }
    visited.map(|_| ())
}

/// Hands the channel an input and waits until its log has grown.
async fn decided(
    app: &App,
    name: &ChannelName,
    within: Duration,
    input: impl Fn() -> ChannelInput,
) -> Option<Arc<Mailbox>> {
    let work = async {
        loop {
            let channel = app.channels.route(name).ok()?;
            let mut head = channel.head.subscribe();
            let before: Cursor = *head.borrow_and_update();
            if channel.inbox.push_waiting(input()).await.is_err() {
                continue;
            }
            head.wait_for(|head| head.order() > before.order())
                .await
                .ok()?;
            drop(head);
            return Some(channel);
        }
    };
    tokio::time::timeout(within, work).await.ok()?
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Outlet for Nowhere {
    fn try_send(&self, _: &Message) -> Result<(), OutletFull> {
        Ok(())
    }
}
