//! Liveness, readiness, and what this node routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::app::App;
use crate::broker::{BrokerReply, BrokerRequest};

/// Load balancers ask often; a broker that takes longer than this is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

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
    } else if !broker_answers(&app).await {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker does not answer\n",
        )
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// The last answer counts; after a failure the broker is asked, as nobody else may come to do it.
async fn broker_answers(app: &App) -> bool {
    if app.connections.broker_answers() {
        return true;
    }
    let Ok(probe) = "tidewire:health".parse() else {
        return false;
    };
    let asked = app.broker.request(&probe, BrokerRequest::Read { after: 0 });
    let reply = tokio::time::timeout(PROBE_TIMEOUT, asked).await;
    let answers = reply.is_ok_and(|reply| !matches!(reply, BrokerReply::Failed { .. }));
    app.connections.note_broker(answers);
    answers
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
