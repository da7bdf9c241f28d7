//! The admin door. Who may use it is decided in `guard.rs`.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewire_core::{ChannelName, ChannelNameError};

use super::answer::answer;
use super::guard::Caller;
use crate::app::App;
use crate::config::ApiRight;
use crate::decisions;

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
    match decisions::open(&app, &name).await {
        Some(()) => answer(StatusCode::CREATED, "created"),
        None => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "the channel could not be opened in time",
        ),
    }
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
    match decisions::delete(&app, &name).await {
        Some(()) => answer(StatusCode::OK, "deleted"),
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
