//! The admin door. Who may use it is decided in `guard.rs`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewire_core::wire::Cursor;
use tidewire_core::{ChannelName, ChannelNameError};

use super::guard::Caller;
use crate::app::App;
use crate::channel::{ChannelInput, Message, Outlet, OutletFull, Subscriber, prove};
use crate::channels::Mailbox;
use crate::config::ApiRight;
use crate::log::Author;

/// How long the broker may take to make a decision durable before the operator is told.
const DECISION_TIMEOUT: Duration = Duration::from_secs(10);
/// A channel opens one epoch in 10 s for a claim; the second one waits that long.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> impl IntoResponse {
    // The text is good as both; a scraper that does not ask gets the older name.
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let kind = match accept.is_some_and(|a| a.contains("application/openmetrics-text")) {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    app.connections.count();
    app.pressure.report(&app.metrics);
    if let Some(bytes) = app.broker.stored_bytes() {
        app.metrics.set_disk(bytes, app.config.disk_bytes_max);
    }
    ([(header::CONTENT_TYPE, kind)], app.metrics.encode())
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let name = match configured(&app, &caller, &name) {
        Ok(name) => name,
        Err(response) => return *response,
    };
    match app.exists(&name).await {
        Ok(true) => return answer(StatusCode::OK, "exists"),
        Ok(false) => {}
        Err(_) => {
            return answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "the broker does not answer",
            );
        }
    }
    // A channel comes to exist with its first subscriber, so there is one for a moment.
    match visit(&app, &name, 0, DECISION_TIMEOUT).await {
        Some(()) => answer(StatusCode::CREATED, "created"),
        None => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "the channel could not be opened in time",
        ),
    }
}

/// Opens an epoch in a channel's log, which goes on in it; `None` if that could not be done in time.
pub(crate) async fn open_epoch(app: &Arc<App>, name: &ChannelName) -> Option<()> {
    app.config.namespace(name.namespace())?;
    if app.channels.route(name).ok()?.head().seq == 0 {
        visit(app, name, 0, DECISION_TIMEOUT).await?;
    }
    // A store that claims to have seen a higher epoch is what makes a channel open one.
    let seen = app.channels.route(name).ok()?.head().epoch;
    visit(app, name, seen + 1, EPOCH_TIMEOUT).await
}

/// Subscribes for a moment, with what a store would claim, and waits until the log has grown by it.
async fn visit(app: &Arc<App>, name: &ChannelName, max_epoch: u64, within: Duration) -> Option<()> {
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

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    let name = match configured(&app, &caller, &name) {
        Ok(name) => name,
        Err(response) => return *response,
    };
    match app.exists(&name).await {
        Ok(true) => {}
        Ok(false) => return answer(StatusCode::NOT_FOUND, "no such channel"),
        Err(_) => {
            return answer(
                StatusCode::SERVICE_UNAVAILABLE,
                "the broker does not answer",
            );
        }
    }
    match decided(&app, &name, DECISION_TIMEOUT, || ChannelInput::Delete).await {
        Some(_) => answer(StatusCode::OK, "deleted"),
        None => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "the channel could not be deleted in time",
        ),
    }
}

pub(super) async fn drain(State(app): State<Arc<App>>) -> Response {
    app.drain.notify_one();
    answer(StatusCode::ACCEPTED, "draining")
}

/// Hands the channel an input and waits until its log has grown.
async fn decided(
    app: &Arc<App>,
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

/// A channel's name that this server may serve; else what to answer.
fn configured(app: &App, caller: &Caller, text: &str) -> Result<ChannelName, Box<Response>> {
    let bad = |text: &str| Box::new(answer(StatusCode::BAD_REQUEST, text));
    let name: ChannelName = text
        .parse()
        .map_err(|error: ChannelNameError| bad(&error.to_string()))?;
    caller.check(ApiRight::Admin, &name)?;
    match app.config.namespace(name.namespace()) {
        Some(_) => Ok(name),
        None => Err(bad("its namespace is not configured")),
    }
}

pub(super) fn answer(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Outlet for Nowhere {
    fn try_send(&self, _: &Message) -> Result<(), OutletFull> {
        Ok(())
    }
}
