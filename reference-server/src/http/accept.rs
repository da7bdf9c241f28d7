//! Accepts connections, HTTP/1.1 and HTTP/2 by prior knowledge, with limits that hold before the first request is
//! complete.
//!
//! `axum::serve` has no time limit for headers: a few clients that send one byte a minute would hold
//! its sockets for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::activity::Activity;
use super::websocket::PeerAddr;
use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::Config;
use crate::limit::LogLimit;

/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long open requests have once the server stops. Idle sockets are closed at once.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// A socket on which nothing is under way is closed so long after HTTP/1 would have closed it: whoever has not even
/// said which HTTP it speaks, and HTTP/2, which has no limit of its own.
const IDLE_LONGER: Duration = Duration::from_secs(1);
/// Requests at a time over one HTTP/2 connection; a client waits with further ones.
const STREAMS_MAX: u32 = 100;
/// Streams of a client that were reset before anybody looked at them; one more ends the connection.
const RESET_STREAMS_MAX: usize = 20;
/// What a client may send over HTTP/2 that nobody has read yet, on one stream and on all.
const WINDOW_BYTES: (u32, u32) = (64 * 1024, 256 * 1024);
/// What may wait for a client in one HTTP/2 stream, beside its send queue.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// A client of HTTP/2 is asked so often whether it is there, and has so long to say so.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// A listener, and what is behind it.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    /// Bounds sockets per address.
    pub(crate) admission: Option<Arc<Admission>>,
}

/// Accepts until `stop` is true, then lets open requests finish for a moment.
///
/// `connections_max` bounds sockets that are not upgraded as well (upgraded ones are counted as
/// connections); further clients wait in the listener's backlog. An address that has its share of them
/// is hung up on, unless it is a trusted proxy.
pub(crate) async fn accept(door: Door, config: Arc<Config>, mut stop: watch::Receiver<bool>) {
    let (clock, log_limit) = (Clock::new(), LogLimit::default());
    let places = config.connections_max.min(Semaphore::MAX_PERMITS);
    let sockets = Arc::new(Semaphore::new(places));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = accept_one(&door.listener, &sockets) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let is_proxy = config.trusted_proxies.iter().any(|p| p.contains(peer.ip()));
                let admission = door.admission.as_ref().filter(|_| !is_proxy);
                let place = admission.map(|all| all.enter_socket(peer.ip(), clock.mono()));
                if matches!(place, Some(None)) {
                    if let Some(unsaid) = log_limit.take(clock.mono()) {
                        tracing::warn!(
                            address = %peer.ip(),
                            unsaid,
                            "too many sockets of one address (connections_per_address)"
                        );
                    }
                    continue;
                }
                let held = (permit, place);
                let service = door.router.clone();
                let config = Arc::clone(&config);
                let stop = stop.clone();
                tokio::spawn(async move {
                    serve(stream, peer, service, &config, stop).await;
                    drop(held);
                });
            }
            Err(error) => {
                if let Some(unsaid) = log_limit.take(clock.mono()) {
                    tracing::warn!(%error, unsaid, "a connection could not be accepted");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    // Whoever comes now is refused; whoever was accepted gets the answer that is under way.
    drop(door);
    let all = u32::try_from(places).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(LAST_ANSWERS, sockets.acquire_many(all)).await;
}

/// An error means that the server is gone, which is a stop as well.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept_one(
    listener: &TcpListener,
    sockets: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(sockets)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    config: &Config,
    mut stop: watch::Receiver<bool>,
) {
    // Frames are joined before they are written: waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let activity = Activity::default();
    let noted = activity.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        noted.during(router.call(request))
    });
    let builder = builder(config);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let idle = activity.idle(config.timeouts.header + IDLE_LONGER);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            Some(connection.await)
        }
        () = idle => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_ANSWERS, connection).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection broke");
    }
}

fn builder(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.header)
        .max_headers(config.bounds.headers)
        // No request's line and headers are larger than what they are read into.
        .max_buf_size(config.bounds.header_bytes);
    let header_bytes = u32::try_from(config.bounds.header_bytes).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(header_bytes)
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}
