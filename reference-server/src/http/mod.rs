//! The HTTP side: what is routed where, and how connections are accepted.

mod accept;
mod activity;
mod admin;
mod answer;
mod fallback;
mod faults;
mod guard;
mod health;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;

pub(crate) use accept::{Door, accept};
pub(crate) use health::table as routing_table;

/// What clients and load balancers reach. Never metrics or the admin door.
pub(crate) fn public(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/ws", any(websocket::upgrade))
        .merge(fallback::routes(&app))
        .merge(health::routes(health::Audience::Public))
        .with_state(app)
        .layer(CatchPanicLayer::new())
}

/// What operators reach.
pub(crate) fn admin(app: Arc<App>) -> Router {
    let body_bytes_max = app.config.bounds.admin_body_bytes;
    let mut routes = Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/channels/{name}", post(admin::create))
        .route("/channels/{name}", delete(admin::delete))
        .route("/drain", post(admin::drain))
        .merge(health::routes(health::Audience::Admin));
    if app.config.faults || app.config.dev_auth {
        routes = routes
            .route(
                "/faults",
                get(faults::replay).put(faults::set).delete(faults::clear),
            )
            .route("/faults/rules", post(faults::add))
            .route("/faults/rules/{name}", delete(faults::end))
            .route("/faults/act", post(faults::act));
    }
    routes
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
        .layer(CatchPanicLayer::new())
}
