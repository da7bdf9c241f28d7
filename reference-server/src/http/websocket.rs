//! The upgrade of `/v1/ws`: origin, subprotocol, room; then the connection takes over.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewire_core::wire::Codec;

use crate::app::App;
use crate::auth::AuthRequest;
use crate::connection;

/// Memory per idle connection is mostly these two (docs/defaults.md).
const SOCKET_BUFFER_BYTES: usize = 4 * 1024;

/// Who connected, as the accept loop saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddr(pub(super) SocketAddr);

pub(super) async fn upgrade(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if !app.origins.admits(&parts.headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            "this page's origin may not connect; the server's allow_origin lists those that may\n",
        );
    }
    let auth = AuthRequest {
        peer: parts.extensions.get::<PeerAddr>().map(|peer| peer.0),
        headers: parts.headers.clone(),
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &app).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = upgrade.protocols(Codec::ALL.iter().map(|codec| codec.subprotocol()));
    let Some(codec) = selected(&upgrade) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "offer the WebSocket subprotocol tidewire.v1.proto or tidewire.v1.json\n",
        );
    };
    if app.connections.is_draining() {
        return busy("this server is going away\n");
    }
    let Ok(registered) = app.connections.enter(codec) else {
        return busy("this server has as many connections as it takes\n");
    };
    let limits = app.config.limits;
    let up = limits.frame_up_bytes as usize;
    let down = limits.frame_down_bytes as usize;
    upgrade
        .read_buffer_size(SOCKET_BUFFER_BYTES)
        .write_buffer_size(SOCKET_BUFFER_BYTES)
        // One whole message and its header: the next one is only written after a flush.
        .max_write_buffer_size(down + 2 * SOCKET_BUFFER_BYTES)
        .max_frame_size(up)
        .max_message_size(up)
        .on_upgrade(move |socket| connection::serve(app, auth, registered, socket))
}

/// The codec of the subprotocol that was agreed; a client that offers several gets the best.
fn selected(upgrade: &WebSocketUpgrade) -> Option<Codec> {
    let name = upgrade.selected_protocol()?;
    let mut codecs = Codec::ALL.iter().copied();
    codecs.find(|codec| codec.subprotocol() == name)
}

fn refuse(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

fn busy(text: &'static str) -> Response {
    let retry = [(header::RETRY_AFTER, "2")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response()
}
