//! The HTTP side: what is routed where, and how connections are accepted.

mod accept;
mod admin;
mod health;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;

pub(crate) use accept::accept;

/// What clients and load balancers reach. Never metrics or the admin door.
pub(crate) fn public(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/ws", any(websocket::upgrade))
        .merge(health::routes())
        .with_state(app)
        .layer(CatchPanicLayer::new())
}

/// What operators reach.
pub(crate) fn admin(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/channels/{name}", post(admin::create))
        .route("/channels/{name}", delete(admin::delete))
        .route("/drain", post(admin::drain))
        .merge(health::routes())
        .layer(axum::middleware::from_fn(admin::refuse_pages))
        .with_state(app)
        .layer(CatchPanicLayer::new())
}
