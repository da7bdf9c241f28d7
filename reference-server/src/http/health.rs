//! Liveness, readiness, and what this node routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::broker::Room;
use crate::config::Config;
use crate::health::Readiness;
use crate::transport::Transport;

/// Load balancers ask often; a broker that takes longer than this is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Anybody.
    Public,
    /// Operators, who may know how many use this node.
    Admin,
}

pub(super) fn routes(audience: Audience) -> Router<Arc<App>> {
    let routing = move |State(app): State<Arc<App>>| async move { routing(&app, audience) };
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/routing", get(routing))
}

/// The process answers: that is all it says. Pages that may connect may read it, as it tells them
/// whether something on the way keeps WebSockets out.
async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let kept = [
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "origin"),
    ];
    let mut response = (kept, "live").into_response();
    if let Some(origin) = headers.get(header::ORIGIN)
        && app.origins.admits(&headers)
    {
        let allow = header::ACCESS_CONTROL_ALLOW_ORIGIN;
        response.headers_mut().insert(allow, origin.clone());
    }
    response
}

/// Whether new clients should be sent here.
async fn ready(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let (status, text) = readiness(&app).await;
    (status, format!("{text}\n"))
}

async fn readiness(app: &App) -> (StatusCode, &'static str) {
    let health = &app.connections.health;
    if health.readiness() == Readiness::BrokerSilent {
        // Nobody else may come to ask it.
        let answer = tokio::time::timeout(PROBE_TIMEOUT, app.broker.health()).await;
        health.note(matches!(answer, Ok(Ok(()))));
    }
    match (health.readiness(), app.broker.room()) {
        (Readiness::Draining, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (_, Room::Broken(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
        (Readiness::BrokerSilent, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker does not answer",
        ),
        (Readiness::Ready, _) => (StatusCode::OK, "ready"),
    }
}

/// What this node routes. Always an answer while the process lives. How much it does and for whom is
/// nobody's business but the operator's.
fn routing(app: &App, audience: Audience) -> Response {
    let status = match app.connections.health.is_draining() {
        true => "draining",
        false => "ok",
    };
    let table = &app.routing_table;
    let counts = match audience {
        Audience::Public => String::new(),
        Audience::Admin => format!(
            ",\"channels\":{},\"connections\":{},\"subscriptions\":{},\"transports\":{{{}}}",
            app.channels.count(),
            app.connections.open_count(),
            app.metrics.subscriptions.get(),
            transports(app),
        ),
    };
    let body = format!(
        "{{\"status\":\"{status}\",\"members\":1,\"table\":\"{table}\",\"divergent\":false{counts}}}\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

/// How many connections each transport has.
fn transports(app: &App) -> String {
    let counts = Transport::ALL.map(|transport| {
        let count = app.metrics.connections_by(transport);
        format!("\"{}\":{count}", transport.name())
    });
    counts.join(",")
}

/// 16 hex digits that are the same on nodes that know the same members and were told the same. This
/// node is the only member of its own.
pub(crate) fn table(config: &Config, node: u64) -> String {
    let mut hash = Sha256::new();
    // Nodes whose leases were renewed at other times still know the same members.
    hash.update(node.to_be_bytes());
    // The text of a type is as good as any other that changes when a value does.
    hash.update(format!("{:?} {:?}", config.namespaces, config.limits));
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
