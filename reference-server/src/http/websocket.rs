//! The upgrade of `/v1/ws`: origin, subprotocol, room; then the connection takes over.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewire_core::wire::Codec;
use tungstenite::handshake::server::create_response_with_body;

use crate::address::client_address;
use crate::admission::NotAdmitted;
use crate::app::App;
use crate::auth::KeptRequest;
use crate::driver::{WebSocketLink, serve};
use crate::faults::Faulted;

/// Who connected, as the accept loop saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddr(pub(super) SocketAddr);

pub(super) async fn upgrade(State(app): State<Arc<App>>, mut request: Request) -> Response {
    if !app.origins.admits(request.headers()) {
        return refuse(
            StatusCode::FORBIDDEN,
            "this page's origin may not connect; the server's allow_origin lists those that may\n",
        );
    }
    let Ok(mut response) = create_response_with_body(&request, Body::empty) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "connect with a WebSocket client, version 13 over HTTP/1.1\n",
        );
    };
    let Some(codec) = offered(request.headers()) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "offer the WebSocket subprotocol tidewire.v1.proto or tidewire.v1.json\n",
        );
    };
    if app.connections.health.is_draining() {
        return busy("this server is going away\n");
    }
    if app.pressure.is_high() {
        if let Some(unsaid) = app.refusals.take(app.clock.mono()) {
            tracing::warn!(
                unsaid,
                "memory_bytes_max is nearly used up: nobody new is let in"
            );
        }
        return busy("this server holds as much as it takes just now\n");
    }
    let peer = peer(&request);
    let address =
        peer.map(|peer| client_address(peer.ip(), request.headers(), &app.config.trusted_proxies));
    let place = match app.admission.enter(address, app.clock.mono()) {
        Ok(place) => place,
        Err(refused) => return not_admitted(&app, refused, address),
    };
    let Ok(registered) = app.connections.enter(codec) else {
        return busy("this server has as many connections as it takes\n");
    };
    let protocol = HeaderValue::from_static(codec.subprotocol());
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let kept = KeptRequest::new(peer, address, request.headers()).with_place(place);
    let kept = Arc::new(kept);
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = match upgrading.await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a client left before its WebSocket was open");
                return;
            }
        };
        let bytes_max = app.config.limits.frame_up_bytes as usize;
        let link = WebSocketLink::new(stream, codec, bytes_max);
        if app.is_faulted {
            let link = Faulted::new(link, &app.faults, registered.peer.id(), codec);
            Box::pin(serve(app, kept, registered, link)).await;
        } else {
            serve(app, kept, registered, link).await;
        }
    });
    response
}

/// Who connected: as our accept loop saw it, or as that of the program around us did.
fn peer(request: &Request) -> Option<SocketAddr> {
    let extensions = request.extensions();
    let ours = extensions.get().map(|PeerAddr(peer)| *peer);
    ours.or_else(|| extensions.get().map(|ConnectInfo(peer)| *peer))
}

fn not_admitted(app: &App, refused: NotAdmitted, address: Option<IpAddr>) -> Response {
    if let Some(unsaid) = app.refusals.take(app.clock.mono()) {
        let setting = match refused {
            NotAdmitted::Address => "connections_per_address",
            NotAdmitted::Unauthenticated => "connections_unauthenticated_max",
        };
        tracing::warn!(?address, setting, unsaid, "a client is not let in");
    }
    match refused {
        NotAdmitted::Address => {
            let text = "this address has as many connections as one may\n";
            let retry = [(header::RETRY_AFTER, "5")];
            (StatusCode::TOO_MANY_REQUESTS, retry, text).into_response()
        }
        NotAdmitted::Unauthenticated => busy("too many clients are being let in just now\n"),
    }
}

/// The best codec of the subprotocols that a client offers.
fn offered(headers: &HeaderMap) -> Option<Codec> {
    let offers = |codec: &Codec| {
        let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let mut names = offers.flat_map(|names| names.as_bytes().split(|byte| *byte == b','));
        names.any(|name| name.trim_ascii() == codec.subprotocol().as_bytes())
    };
    Codec::ALL.iter().copied().find(offers)
}

fn refuse(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

fn busy(text: &'static str) -> Response {
    let retry = [(header::RETRY_AFTER, "2")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, text).into_response()
}
