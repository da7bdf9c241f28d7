//! The doors of sessions over HTTP: `/v1/sse`, `/v1/poll`, `/v1/push`.
//!
//! No cookie is looked at and the media type is one that no form can send: a page of another origin gets past
//! neither its browser's preflight nor the origin rule.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Frame;
use tidewire_core::TransportKind;
use tidewire_core::wire::{Codec, ErrorCode, Hello, ServerKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::websocket::{WALLED, admit, peer};
use crate::address::client_address;
use crate::app::App;
use crate::auth::{AuthError, KeptRequest, Principal};
use crate::budget::{Account, Kind};
use crate::connection::http::{Door, HttpRequest, Post, Refused};
use crate::connections::Registered;
use crate::driver::{Asked, Broken};
use crate::driver::{Link, Live, PollLink, StreamLink, exchange, serve};
use crate::faults::{Faulted, Wall};
use crate::sessions::{Answered, Poster, Sessions, Wish, answered};
use crate::telemetry::HttpAnswer;
use crate::transport::Transport;

/// How long browsers remember what a preflight said.
const PREFLIGHT: Duration = Duration::from_secs(2 * 3600);

/// When a client may come again that cannot be served just now.
const RETRY_MS: u32 = 1000;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The three doors, open or not.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let origins = app.origins.clone();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |_, request| {
            origins.admits(&request.headers)
        }))
        .allow_methods([Method::POST])
        .allow_headers([header::CONTENT_TYPE, PREFER])
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT)
        .vary([header::ORIGIN]);
    let door = |door| {
        any(
            move |State(app): State<Arc<App>>, request: Request| async move {
                answer(&app, door, request).await
            },
        )
    };
    Router::new()
        .route("/v1/sse", door(Door::Stream))
        .route("/v1/poll", door(Door::Poll))
        .route("/v1/push", door(Door::Push))
        .layer(cors)
}

async fn answer(app: &Arc<App>, door: Door, request: Request) -> Response {
    let wall = match app.is_faulted {
        true => wall_before(app, door),
        false => None,
    };
    if wall == Some(Wall::Refuses) {
        return (StatusCode::FORBIDDEN, WALLED).into_response();
    }
    let codec = codec(request.headers());
    let is_http1 = request.version() < Version::HTTP_2;
    let mut answer = match take(app, door, codec, request).await {
        Ok(response) => response,
        // People read it if they must.
        Err(refused) => refuse(codec.unwrap_or(Codec::Json), &refused),
    };
    if wall == Some(Wall::Collects) {
        answer = answer.map(collected);
    }
    if is_http1 && app.connections.is_draining() {
        // The next request goes to another node, instead of to this one for as long as the connection is good.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    let status = answer.status().as_u16();
    let counted = HttpAnswer { door, status };
    app.metrics.http_answers.get_or_create(&counted).inc();
    answer
}

fn wall_before(app: &App, door: Door) -> Option<Wall> {
    match door {
        Door::Stream => app.faults.wall_before(TransportKind::Sse),
        Door::Poll => {
            let wall = app.faults.wall_before(TransportKind::LongPoll);
            wall.map(|_| Wall::Refuses)
        }
        // They carry frames up for either.
        Door::Push => None,
    }
}

/// A body that ends when this one does, and says nothing.
fn collected(body: Body) -> Body {
    // Of an empty piece nothing is written.
    Body::new(body.map_frame(|_| Frame::data(Bytes::new())))
}

async fn take(
    app: &Arc<App>,
    door: Door,
    codec: Option<Codec>,
    request: Request,
) -> Result<Response, Refused> {
    let headers = request.headers();
    if !app.origins.admits(headers) {
        app.note_foreign(headers);
        let detail =
            "this page's origin may not connect; the server's allow_origin lists those that may";
        return Err(Refused::new(ErrorCode::Forbidden, detail));
    }
    if app.connection_config.fallback.is_none() {
        let detail = "this server has enable_http_fallback off; use a WebSocket";
        return Err(Refused::new(ErrorCode::Unsupported, detail));
    }
    let codec = check(door, codec, &request)?;
    let peer = peer(&request);
    let address =
        peer.map(|peer| client_address(peer.ip(), request.headers(), &app.config.trusted_proxies));
    let permit = Arc::clone(&app.sessions.requests).try_acquire_owned();
    let permit = permit.map_err(|_| busy("this server looks at as many requests as it takes"))?;
    let wait = wait(request.headers());
    let (parts, body) = request.into_parts();
    let body = read(app, body).await?;
    app.metrics.bytes_in.inc_by(body.len() as u64);
    let mut account = app.pressure.account();
    account.set(Kind::Push, body.len());
    let request = HttpRequest::read(door, codec, body, &app.connection_config)?;
    let inbound = Inbound {
        app,
        codec,
        peer,
        address,
        headers: &parts.headers,
        held: (permit, account),
    };
    match request {
        HttpRequest::Open(message) => inbound.open(door, message).await,
        HttpRequest::Poll {
            handle,
            number,
            hello,
            message,
        } => {
            let principal = inbound.authenticate(&hello).await?;
            let hold = wait.map_or(app.poll_hold(), |wait| wait.min(app.poll_hold()));
            let wish = Wish {
                who: principal.shared_name(),
                codec,
                poll: Some((number, hold)),
                post: 0,
                message,
            };
            drop(inbound.held);
            Ok(respond(codec, Sessions::take(app, handle, wish).await?))
        }
        HttpRequest::Post(post) => inbound.post(post).await,
    }
}

/// Serves a session; where faults may be asked for, on a link that a plan may strike. A WebSocket does so itself: many
/// are idle, and this keeps what it is given twice.
async fn serve_session(
    app: Arc<App>,
    kept: Arc<KeptRequest>,
    registered: Registered,
    link: impl Link,
    codec: Codec,
) {
    if app.is_faulted {
        let link = Faulted::new(link, &app.faults, registered.peer.id(), codec);
        Box::pin(serve(app, kept, registered, link)).await;
    } else {
        serve(app, kept, registered, link).await;
    }
}

/// A request of whose body the rules are known to hold.
struct Inbound<'a> {
    app: &'a Arc<App>,
    codec: Codec,
    peer: Option<SocketAddr>,
    address: Option<IpAddr>,
    headers: &'a HeaderMap,
    /// What it takes while it is looked at.
    held: (OwnedSemaphorePermit, Account),
}

impl Inbound<'_> {
    fn kept(&self) -> KeptRequest {
        KeptRequest::new(self.peer, self.address, self.headers)
    }

    /// Opens a session.
    async fn open(self, door: Door, message: Bytes) -> Result<Response, Refused> {
        let app = self.app;
        let place = admit(app, self.address)?;
        let transport = match door {
            Door::Stream => Transport::Sse,
            _ => Transport::LongPoll,
        };
        Sessions::start(app).await?;
        let registered = app.connections.enter(self.codec, transport);
        let registered =
            registered.map_err(|_| busy("this server has as many connections as it takes"))?;
        let kept = Arc::new(self.kept().with_place(place));
        let (live, parked) = Live::open(self.codec, message, door == Door::Poll);
        let live = Arc::new(live);
        let (app, codec) = (Arc::clone(app), self.codec);
        let Some(parked) = parked else {
            let (link, body) = StreamLink::new(live, &app.sessions);
            tokio::spawn(serve_session(app, kept, registered, link, codec));
            return Ok(stream(Body::new(body)));
        };
        let link = PollLink::new(Arc::clone(&live), &app.sessions);
        tokio::spawn(serve_session(app, kept, registered, link, codec));
        drop(self.held);
        Ok(respond(codec, answered(&live, codec, parked).await?))
    }

    /// Frames up: those for the session first, since only they can be refused as a whole.
    async fn post(self, post: Post) -> Result<Response, Refused> {
        let (app, codec) = (self.app, self.codec);
        let principal = self.authenticate(&post.hello).await?;
        let poster = match post.handle {
            Some(handle) => Poster::Session(handle.session),
            None => Poster::Principal(principal.shared_name()),
        };
        let paid = app
            .sessions
            .rates
            .pay(poster, post.frames, app.clock.mono());
        paid.map_err(|wait| {
            let retry_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            let detail = "too many frames; send more slowly";
            Refused::new(ErrorCode::RateLimited, detail).after_ms(retry_ms)
        })?;
        let is_for_session = !post.for_session.is_empty() || post.replies.is_done();
        if let Some(handle) = post.handle.filter(|_| is_for_session) {
            let wish = Wish {
                who: principal.shared_name(),
                codec,
                poll: None,
                post: post.number,
                message: post.for_session,
            };
            let answer = Sessions::take(app, handle, wish).await?;
            if post.replies.is_done() {
                return Ok(respond(codec, answer));
            }
        }
        let asked = Asked {
            request: self.kept(),
            principal,
            codec,
            message: post.message,
            replies: post.replies,
        };
        Ok(match exchange(app, asked).await {
            Ok(frames) => respond(codec, Answered::Body(encode(codec, frames))),
            Err(Broken) => respond(codec, Answered::Broken),
        })
    }

    /// Who sends it. That it is the one that the client takes it for is checked before anything is evaluated.
    async fn authenticate(&self, hello: &Hello) -> Result<Principal, Refused> {
        let principal = self
            .app
            .authenticate_kept(&hello.token, self.address, &self.kept())
            .await
            .map_err(|error| unauthenticated(&error))?;
        let author = principal.author(&hello.client);
        match hello.expect_author.is_empty() || hello.expect_author == author.0[..] {
            true => Ok(principal),
            false => Err(Refused::new(
                ErrorCode::WrongPrincipal,
                "hello.expect_author is not the author of this token and client",
            )),
        }
    }
}

fn unauthenticated(error: &AuthError) -> Refused {
    let refused = Refused::new(error.code(), error.to_string());
    match refused.status {
        503 => refused.after_ms(RETRY_MS),
        _ => refused,
    }
}

/// What can be judged before the body.
fn check(door: Door, codec: Option<Codec>, request: &Request) -> Result<Codec, Refused> {
    let unsupported = |status, detail: String| {
        Err(Refused::new(ErrorCode::Unsupported, detail).with_status(status))
    };
    if request.method() != Method::POST {
        return unsupported(405, format!("{door:?} requests are POSTs"));
    }
    if request.uri().query().is_some() {
        let detail = "nothing belongs into the query: a token there would be logged on the way";
        return Err(Refused::new(ErrorCode::Malformed, detail));
    }
    let Some(codec) = codec else {
        let [proto, json] = [Codec::Protobuf, Codec::Json].map(Codec::media_type);
        return unsupported(415, format!("Content-Type must be {proto} or {json}"));
    };
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return unsupported(
            415,
            "a body travels as it is, without Content-Encoding".into(),
        );
    }
    Ok(codec)
}

/// The whole body, within its bounds of size and time.
async fn read(app: &App, body: Body) -> Result<Bytes, Refused> {
    let bytes_max = app.config.limits.frame_up_bytes as usize;
    let limit = app.config.timeouts.body;
    let read = timeout(limit, Limited::new(body, bytes_max).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::new(
            ErrorCode::FrameTooLarge,
            format!("a body is over {bytes_max} bytes"),
        )),
        Ok(Err(error)) => Err(Refused::new(
            ErrorCode::Malformed,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(Refused::new(
            ErrorCode::HelloTimeout,
            format!("the body took longer than {} s", limit.as_secs()),
        )),
    }
}

fn codec(headers: &HeaderMap) -> Option<Codec> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, None) = (kinds.next()?, kinds.next()) else {
        return None;
    };
    let is = |codec: &Codec| {
        kind.as_bytes()
            .eq_ignore_ascii_case(codec.media_type().as_bytes())
    };
    Codec::ALL.iter().copied().find(is)
}

/// How long its client wants a poll to be held at most: `Prefer: wait=SECONDS` (RFC 7240).
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter();
    let mut preferences = preferences
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let seconds = value.trim().parse().ok()?;
        (name.trim().eq_ignore_ascii_case("wait")).then_some(Duration::from_secs(seconds))
    })
}

fn busy(detail: &str) -> Refused {
    Refused::new(ErrorCode::Overloaded, detail).after_ms(RETRY_MS)
}

fn encode(codec: Codec, frames: Vec<ServerKind>) -> Bytes {
    let mut body = bytes::BytesMut::from(crate::connection::http::no_frames(codec));
    if !frames.is_empty() {
        body.clear();
    }
    for frame in frames {
        codec.encode_server(frame, &mut body);
    }
    body.freeze()
}

/// What every answer says.
fn headers(kind: &'static str) -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        ),
        // Some browsers guess what a body is, whatever is said of it.
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ]
}

fn respond(codec: Codec, answer: Answered) -> Response {
    let body = match answer {
        Answered::Body(body) => Body::from(body),
        // What comes is not whole, and does not look so.
        Answered::Broken => Body::new(crate::driver::BrokenBody),
    };
    (headers(codec.media_type()), body).into_response()
}

fn stream(body: Body) -> Response {
    // nginx would collect what comes.
    let unbuffered = HeaderValue::from_static("no");
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), unbuffered)];
    (headers("text/event-stream"), unbuffered, body).into_response()
}

fn refuse(codec: Codec, refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = refused.body(codec);
    let mut response = (status, headers(codec.media_type()), body).into_response();
    let headers = response.headers_mut();
    if let Some(retry_ms) = refused.retry_ms {
        let seconds = retry_ms.div_ceil(1000).max(1);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_our_own_media_types_choose_a_codec() {
        let proto = "application/vnd.tidewire.v1+proto";
        for (values, expected) in [
            (&[proto][..], Some(Codec::Protobuf)),
            (&["application/vnd.tidewire.v1+json"], Some(Codec::Json)),
            (&["Application/VND.tidewire.v1+JSON"], Some(Codec::Json)),
            (&[], None),
            (&["application/json"], None),
            (&["text/plain"], None),
            (&["application/vnd.tidewire.v1+proto; a=b"], None),
            (&[proto, "text/plain"], None),
        ] {
            assert_eq!(
                codec(&headers("content-type", values)),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_client_may_say_how_long_it_waits() {
        for (values, expected) in [
            (&[][..], None),
            (&["wait=0"], Some(0)),
            (&["respond-async, wait = 10"], Some(10)),
            (&["return=minimal", "Wait=3"], Some(3)),
            (&["wait=-1"], None),
            (&["wait"], None),
            (&["waits=5"], None),
        ] {
            let found = wait(&headers("prefer", values));
            assert_eq!(found, expected.map(Duration::from_secs), "{values:?}");
        }
    }
}
