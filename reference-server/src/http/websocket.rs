//! The upgrade of `/v1/ws`: origin, subprotocol, room; then the connection takes over.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewire_core::TransportKind;
use tidewire_core::wire::{Codec, ErrorCode};
use tungstenite::handshake::server::create_response_with_body;

use crate::address::client_address;
use crate::admission::{NotAdmitted, Place};
use crate::app::App;
use crate::auth::KeptRequest;
use crate::connection::http::Refused;
use crate::driver::{WebSocketLink, serve};
use crate::faults::Faulted;
use crate::transport::Transport;

/// When a client may come again that cannot be let in just now.
const RETRY_MS: u32 = 2000;

/// The same for one whose address has all that it may have.
const ADDRESS_RETRY_MS: u32 = 5000;

/// What a wall of the fault plan says.
pub(super) const WALLED: &str = "nothing of this kind gets through here: a fault on purpose\n";

/// Who connected, as the accept loop saw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddr(pub(super) SocketAddr);

pub(super) async fn upgrade(State(app): State<Arc<App>>, mut request: Request) -> Response {
    if !app.origins.admits(request.headers()) {
        app.note_foreign(request.headers());
        return refuse(
            StatusCode::FORBIDDEN,
            "this page's origin may not connect; the server's allow_origin lists those that may\n",
        );
    }
    if app.is_faulted && app.faults.wall_before(TransportKind::WebSocket).is_some() {
        return refuse(StatusCode::FORBIDDEN, WALLED);
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
    let peer = peer(&request);
    let address =
        peer.map(|peer| client_address(peer.ip(), request.headers(), &app.config.trusted_proxies));
    let place = match admit(&app, address) {
        Ok(place) => place,
        Err(refused) => return turn_away(&refused),
    };
    let Ok(registered) = app.connections.enter(codec, Transport::WebSocket) else {
        let detail = "this server has as many connections as it takes";
        return turn_away(&Refused::new(ErrorCode::Overloaded, detail).after_ms(RETRY_MS));
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
        // A task of its own, which keeps no room for the upgrade.
        if app.is_faulted {
            let link = Faulted::new(link, &app.faults, registered.peer.id(), codec);
            tokio::spawn(serve(app, kept, registered, link));
        } else {
            tokio::spawn(serve(app, kept, registered, link));
        }
    });
    response
}

/// Who connected: as our accept loop saw it, or as that of the program around us did.
pub(super) fn peer(request: &Request) -> Option<SocketAddr> {
    let extensions = request.extensions();
    let ours = extensions.get().map(|PeerAddr(peer)| *peer);
    ours.or_else(|| extensions.get().map(|ConnectInfo(peer)| *peer))
}

/// Whether somebody new may come in, whatever the transport.
pub(super) fn admit(app: &App, address: Option<IpAddr>) -> Result<Place, Refused> {
    if app.connections.health.is_draining() {
        let detail = "this server is going away";
        return Err(Refused::new(ErrorCode::GoingAway, detail).after_ms(RETRY_MS));
    }
    let busy = |detail| Refused::new(ErrorCode::Overloaded, detail).after_ms(RETRY_MS);
    if app.pressure.is_high() {
        if let Some(unsaid) = app.refusals.take(app.clock.mono()) {
            tracing::warn!(
                unsaid,
                "memory_bytes_max is nearly used up: nobody new is let in"
            );
        }
        return Err(busy("this server holds as much as it takes just now"));
    }
    app.admission
        .enter(address, app.clock.mono())
        .map_err(|refused| {
            let setting = match refused {
                NotAdmitted::Address => "connections_per_address",
                NotAdmitted::Unauthenticated => "connections_unauthenticated_max",
            };
            if let Some(unsaid) = app.refusals.take(app.clock.mono()) {
                tracing::warn!(?address, setting, unsaid, "a client is not let in");
            }
            match refused {
                NotAdmitted::Address => {
                    let detail = "this address has as many connections as one may";
                    Refused::new(ErrorCode::RateLimited, detail).after_ms(ADDRESS_RETRY_MS)
                }
                NotAdmitted::Unauthenticated => busy("too many clients are being let in just now"),
            }
        })
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

/// The same refusal in words, as the handshake has no other form.
fn turn_away(refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let seconds = refused.retry_ms.unwrap_or(RETRY_MS).div_ceil(1000);
    let retry = [(header::RETRY_AFTER, seconds.to_string())];
    (status, retry, format!("{}\n", refused.detail)).into_response()
}
