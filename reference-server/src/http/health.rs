//! Liveness, readiness, and what this node routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/routing", get(routing))
}

/// The process answers: that is all it says.
async fn live() -> &'static str {
    "live\n"
}

/// Whether new clients should be sent here.
async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.connections.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !app.connections.broker_answers() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker does not answer\n",
        )
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Counts, as JSON. Names of channels are for the admin door.
async fn routing(State(app): State<Arc<App>>) -> impl IntoResponse {
    let body = format!(
        "{{\"channels\":{},\"connections\":{},\"subscriptions\":{},\"draining\":{}}}\n",
        app.router.channels(),
        app.connections.count(),
        app.metrics.subscriptions.get(),
        app.connections.is_draining(),
    );
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        body,
    )
}
