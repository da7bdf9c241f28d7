//! Links over HTTP: streams of events, polls and POSTs (docs/protocol/http.md). The core says which request, and what its
//! answer means; here they are made.
//!
//! Invariant: nothing is buffered but one answer, or one event, and each is bounded by the longest message.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, Stream, StreamExt};
use launchdarkly_sdk_transport as sse;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use reqwest::redirect;
use rustls::ClientConfig;
use tidewire_core::event_stream::StreamEvent;
use tidewire_core::wire::{self, Codec, Limits};
use tidewire_core::{ConnId, Door, HttpResponse, Input, LinkClosed, LinkStage, Probed, RequestId};

use super::{retry_after, text_of};
use crate::endpoint::Target;

/// The longest message of a server, which nothing that it answers exceeds.
const MESSAGE_BYTES_MAX: usize = Limits::DEFAULT.frame_down_bytes as usize;
/// What an event takes beyond its message: its line's beginning and end, a type, the comment at the beginning.
const EVENT_BYTES_MORE: usize = 4096;
/// How long a link's last words may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that are kept for the next POST. A link has one under way.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// Why requests cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("http cannot be set up: {0}")]
pub struct HttpError(#[from] reqwest::Error);

/// Makes requests to one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    target: Target,
    codec: Codec,
}

/// An answer that is not read yet.
type Answer = Result<reqwest::Response, reqwest::Error>;

impl Http {
    pub(crate) fn new(
        target: Target,
        codec: Codec,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, HttpError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            // A token follows nowhere: the one way that is followed is `Target::follow`'s.
            .redirect(redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()?;
        Ok(Self {
            client,
            target,
            codec,
        })
    }

    /// Begins a link, which has no request yet.
    pub(crate) fn open(&self, conn: ConnId) -> HttpLink {
        HttpLink {
            conn,
            http: self.clone(),
            running: Vec::new(),
        }
    }

    /// Finds out who answers in the server's place.
    pub(crate) fn probe(&self, probe: u64) -> BoxFuture<'static, Input> {
        // No cache has seen this address.
        let url = format!("{}/health/live?{probe}", self.target.get().http_base());
        let asked = self.client.get(url).header(CACHE_CONTROL, "no-store");
        async move {
            let found = match asked.send().await {
                Ok(answer) if answer.status().as_u16() == 200 => match whole(answer).await {
                    Ok(body) if body.trim_ascii() == b"live" => Probed::Live,
                    _ => Probed::Stranger,
                },
                Ok(answer) if answer.status().as_u16() < 500 => Probed::Stranger,
                _ => Probed::Nobody,
            };
            Input::Probed { probe, found }
        }
        .boxed()
    }

    async fn post(&self, door: Door, body: Bytes) -> Answer {
        let asked = |base: String| {
            self.client
                .post(base + door.path())
                .header(CONTENT_TYPE, self.codec.media_type())
                .body(body.clone())
        };
        let answer = asked(self.target.get().http_base()).send().await?;
        if answer.status().is_redirection()
            && let Some(location) = text_of(answer.headers(), LOCATION)
            && self.target.follow(door.path(), location)
        {
            return asked(self.target.get().http_base()).send().await;
        }
        Ok(answer)
    }
}

/// One link: the request that brings messages, and at most one POST beside it.
pub(crate) struct HttpLink {
    conn: ConnId,
    http: Http,
    running: Vec<Running>,
}

struct Running {
    request: RequestId,
    /// It may outlive its link, and nobody waits for its answer.
    is_last: bool,
    inputs: BoxStream<'static, Input>,
}

impl HttpLink {
    pub(crate) const fn conn(&self) -> ConnId {
        self.conn
    }

    /// Starts a request. Nothing happens until the link is polled.
    pub(crate) fn request(&mut self, request: RequestId, door: Door, body: Bytes, is_last: bool) {
        let (conn, http) = (self.conn, self.http.clone());
        let inputs = async move {
            let answer = match http.post(door, body).await {
                Ok(answer) if door == Door::Stream && is_stream(&answer) => {
                    return events(conn, answer);
                }
                answer => answer,
            };
            let response = response(answer, http.codec.media_type()).await;
            let input = Input::Response {
                conn,
                request,
                response,
            };
            stream::iter([input]).boxed()
        };
        self.running.push(Running {
            request,
            is_last,
            inputs: inputs.flatten_stream().boxed(),
        });
    }

    /// Gives a request up.
    pub(crate) fn abort(&mut self, request: RequestId) {
        self.running.retain(|running| running.request != request);
    }

    /// What is next, the newest request first: a busy stream holds up no answer to a POST.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        for at in (0..self.running.len()).rev() {
            match self.running[at].inputs.poll_next_unpin(cx) {
                Poll::Ready(Some(input)) if !self.running[at].is_last => {
                    return Poll::Ready(input);
                }
                Poll::Ready(_) => {
                    self.running.remove(at);
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Ends all requests, once the server has the last words, at most for a second: a stream that ends before them
    /// would look like a link that broke.
    pub(crate) async fn shut_down(mut self) {
        let Some(at) = self.running.iter().position(|running| running.is_last) else {
            return;
        };
        let last = self.running.remove(at).inputs.collect::<Vec<_>>();
        // Without an answer the link is over as well.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, last).await;
    }
}

fn is_stream(answer: &reqwest::Response) -> bool {
    answer.status().as_u16() == 200
        && text_of(answer.headers(), CONTENT_TYPE)
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// What came of a request that is answered once.
async fn response(answer: Answer, media_type: &str) -> HttpResponse {
    let read = async {
        let answer = answer.map_err(|error| cause(error.without_url()))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers());
        let retry_after = retry_after(headers);
        let kind = text_of(headers, CONTENT_TYPE)
            .unwrap_or("no type")
            .to_owned();
        let detail = match text_of(headers, LOCATION) {
            Some(location) => format!("HTTP {status}, which leads to {location}"),
            None => format!("HTTP {status}"),
        };
        let body = whole(answer).await?;
        if status == 200 && kind != media_type {
            return Err(format!(
                "something else answers in the server's place, with {kind}"
            ));
        }
        Ok(HttpResponse {
            status,
            retry_after,
            unheld: false,
            body,
            detail: wire::cut_detail(detail),
        })
    };
    read.await.unwrap_or_else(|detail| HttpResponse {
        detail: wire::cut_detail(detail),
        ..HttpResponse::default()
    })
}

/// A body, unless it is larger than any of ours.
async fn whole(mut answer: reqwest::Response) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| cause(error.without_url()))?
    {
        if body.len() + chunk.len() > MESSAGE_BYTES_MAX {
            return Err("the answer is too large".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What the platform says, down to the first cause.
fn cause(error: impl StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// A stream: `Opened` with its first byte, its events, and `Closed`, after which nothing comes.
fn events(conn: ConnId, answer: reqwest::Response) -> BoxStream<'static, Input> {
    let unread = Arc::new(AtomicUsize::new(0));
    let url = answer.url().to_string();
    let body = Body(Arc::new(Mutex::new(Some(BoundedBody {
        bytes: Mutex::new(answer.bytes_stream().boxed()),
        unread: unread.clone(),
    }))));
    // The core decides about the next attempt.
    let once = ReconnectOptions::reconnect(false).retry_initial(false);
    let events = ClientBuilder::for_url(&url)
        .expect("it was answered")
        .reconnect(once.build())
        .redirect_limit(0)
        .build_with_transport(body)
        .stream();
    let reading = Reading {
        conn,
        events,
        unread,
        is_open: false,
        event: None,
    };
    stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        let input = reading.next().await;
        let is_over = matches!(input, Input::Closed { .. });
        Some((input, (!is_over).then_some(reading)))
    })
    .boxed()
}

struct Reading {
    conn: ConnId,
    events: eventsource_client::BoxStream<eventsource_client::Result<SSE>>,
    unread: Arc<AtomicUsize>,
    is_open: bool,
    /// It came first, and `Opened` has to be told before it.
    event: Option<StreamEvent>,
}

impl Reading {
    async fn next(&mut self) -> Input {
        let conn = self.conn;
        loop {
            if let Some(event) = self.event.take() {
                return Input::Event { conn, event };
            }
            let detail = match self.events.next().await {
                // Headers alone: whoever collects streams has passed on no byte.
                Some(Ok(SSE::Connected(_))) => continue,
                Some(Ok(read)) => {
                    // A comment ends nothing: it may stand between two lines of an event, which the reader keeps.
                    if let SSE::Event(event) = read {
                        self.unread.store(0, Ordering::Relaxed);
                        self.event = Some(StreamEvent {
                            kind: event.event_type,
                            data: event.data.into_bytes(),
                        });
                    }
                    if !std::mem::replace(&mut self.is_open, true) {
                        return Input::Opened { conn };
                    }
                    continue;
                }
                Some(Err(eventsource_client::Error::HttpStream(error))) => cause(&*error),
                Some(Err(error)) => format!("the stream ended: {error}"),
                None => "the stream ended".into(),
            };
            let reason = LinkClosed {
                stage: LinkStage::Opened,
                detail: wire::cut_detail(detail),
                ..LinkClosed::default()
            };
            return Input::Closed { conn, reason };
        }
    }
}

/// The answer whose request was made already: the reader of events has no request with a body of bytes.
#[derive(Clone)]
struct Body(Arc<Mutex<Option<BoundedBody>>>);

impl sse::HttpTransport for Body {
    fn request(&self, _: sse::Request<Option<Bytes>>) -> sse::ResponseFuture {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let body = body.ok_or_else(|| sse::TransportError::new(Reread))?;
            let body: sse::ByteStream = Box::pin(body);
            Ok(sse::Response::new(body))
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a stream is read once")]
struct Reread;

#[derive(Debug, thiserror::Error)]
#[error("an event is too large")]
struct TooLarge;

/// Bytes of a stream, as long as its events stay within bounds: their reader has none.
struct BoundedBody {
    /// Never locked: it makes the stream `Sync`, as the reader wants it.
    bytes: Mutex<BoxStream<'static, reqwest::Result<Bytes>>>,
    /// Bytes since the last event, comments too.
    unread: Arc<AtomicUsize>,
}

impl Stream for BoundedBody {
    type Item = Result<Bytes, sse::TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.unread.load(Ordering::Relaxed)
            > MESSAGE_BYTES_MAX.div_ceil(3) * 4 + EVENT_BYTES_MORE
        {
            return Poll::Ready(Some(Err(sse::TransportError::new(TooLarge))));
        }
        let bytes = self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        bytes.poll_next_unpin(cx).map(|chunk| {
            chunk.map(|chunk| {
                let chunk = chunk.map_err(|error| sse::TransportError::new(error.without_url()))?;
                self.unread.fetch_add(chunk.len(), Ordering::Relaxed);
                Ok(chunk)
            })
        })
    }
}
