//! One WebSocket: dialling, reading, and writing all that is ready with one flush.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rustls::{ClientConfig, RootCertStore};
use tidewire_core::wire::{self, CloseCode, Codec, Limits};
use tidewire_core::{ConnId, Input, LinkClosed, LinkStage};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{LOCATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    connect_async_tls_with_config,
};

use super::proxy::{Proxies, tunnel};
use super::{retry_after, text_of};
use crate::endpoint::{Endpoint, Target};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Dial = Pin<Box<dyn Future<Output = Result<Socket, Error>> + Send>>;

/// Bytes that may wait for the socket. The core keeps to its push window and its outbox of 16 MiB;
/// past this the peer does not read, and the link is given up.
const UNSENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Read buffer, and how much is gathered before a write; a whole push window fits.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a closing handshake may take before the socket is dropped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("tls cannot be set up: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// Opens links to one server.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    codec: Codec,
    target: Target,
    tls: Arc<ClientConfig>,
    proxies: Proxies,
}

impl Dialer {
    pub(crate) fn new(target: Target, codec: Codec, tls: Arc<ClientConfig>) -> Self {
        Self {
            codec,
            target,
            tls,
            proxies: Proxies::from_env(),
        }
    }

    async fn connect(&self) -> Result<Socket, Error> {
        match self.shake_hands(&self.target.get()).await {
            Err(Error::Http(response))
                if response.status().is_redirection()
                    && text_of(response.headers(), LOCATION)
                        .is_some_and(|to| self.target.follow(Endpoint::PATH, to)) =>
            {
                self.shake_hands(&self.target.get()).await
            }
            result => result,
        }
    }

    async fn shake_hands(&self, endpoint: &Endpoint) -> Result<Socket, Error> {
        let mut request = endpoint.uri().into_client_request()?;
        request.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(self.codec.subprotocol()),
        );
        let connector = Some(Connector::Rustls(self.tls.clone()));
        let message_bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
        // A message somewhat over the limit still reaches the core, which knows the code for it.
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_write_buffer_size(2 * BUFFER_BYTES + message_bytes_max)
            .max_message_size(Some(2 * message_bytes_max))
            .max_frame_size(Some(2 * message_bytes_max));
        let destination = endpoint.http_base().parse()?;
        let (socket, _response) = match self.proxies.to(&destination) {
            Some(proxy) => {
                let stream = tunnel(&proxy, endpoint.with_port()).await?;
                client_async_tls_with_config(request, stream, Some(config), connector).await?
            }
            None => connect_async_tls_with_config(request, Some(config), true, connector).await?,
        };
        Ok(socket)
    }

    /// Starts a link. Nothing happens until it is polled; `first` is written as soon as it is up.
    pub(crate) fn dial(&self, first: Bytes) -> WebSocket {
        let dialer = self.clone();
        WebSocket {
            codec: self.codec,
            phase: Phase::Dialling(Box::pin(async move { dialer.connect().await })),
            stage: LinkStage::Dialling,
            unsent_bytes: first.len(),
            unsent: VecDeque::from([first]),
            unflushed: false,
        }
    }
}

/// Trusts the roots of the web. The provider is named: with several in one build, rustls's own choice would panic.
pub(crate) fn web_roots() -> Result<ClientConfig, TlsError> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// One link, from dialling to its end.
pub(crate) struct WebSocket {
    codec: Codec,
    phase: Phase,
    stage: LinkStage,
    unsent: VecDeque<Bytes>,
    unsent_bytes: usize,
    unflushed: bool,
}

enum Phase {
    Dialling(Dial),
    Open(Box<Socket>),
    Over,
}

impl WebSocket {
    /// Queues one message; [`Self::poll`] writes it.
    pub(crate) fn send(&mut self, message: Bytes) {
        self.unsent_bytes += message.len();
        self.unsent.push_back(message);
    }

    /// Writes what waits, then reads. After `Closed` it stays pending.
    pub(crate) fn poll(&mut self, conn: ConnId, cx: &mut Context<'_>) -> Poll<Input> {
        let closed = match &mut self.phase {
            Phase::Dialling(dial) => match ready!(dial.as_mut().poll(cx)) {
                Ok(socket) => {
                    self.phase = Phase::Open(Box::new(socket));
                    self.stage = LinkStage::Opened;
                    return Poll::Ready(Input::Opened { conn });
                }
                Err(error) => closed_by(error),
            },
            Phase::Open(_) => {
                let read = match self.poll_write(cx) {
                    Ok(()) => ready!(self.poll_read(cx)),
                    Err(closed) => Err(closed),
                };
                match read {
                    Ok(message) => {
                        self.stage = LinkStage::Talking;
                        return Poll::Ready(Input::Received { conn, message });
                    }
                    Err(closed) => closed,
                }
            }
            Phase::Over => return Poll::Pending,
        };
        self.phase = Phase::Over;
        let reason = LinkClosed {
            stage: self.stage,
            ..closed
        };
        Poll::Ready(Input::Closed { conn, reason })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), LinkClosed> {
        let Phase::Open(socket) = &mut self.phase else {
            return Ok(());
        };
        let mut socket = Pin::new(&mut **socket);
        while let Some(message) = self.unsent.pop_front() {
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(ready) => ready.map_err(closed_by)?,
                Poll::Pending => {
                    self.unsent.push_front(message);
                    break;
                }
            }
            self.unsent_bytes -= message.len();
            self.unflushed = true;
            socket
                .as_mut()
                .start_send(to_socket(self.codec, message))
                .map_err(closed_by)?;
        }
        if self.unsent_bytes > UNSENT_BYTES_MAX {
            return Err(LinkClosed {
                detail: format!(
                    "{} bytes wait and the server does not read",
                    self.unsent_bytes
                ),
                ..LinkClosed::default()
            });
        }
        if self.unflushed
            && let Poll::Ready(flushed) = socket.poll_flush(cx)
        {
            flushed.map_err(closed_by)?;
            self.unflushed = false;
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, LinkClosed>> {
        let Phase::Open(socket) = &mut self.phase else {
            return Poll::Pending;
        };
        loop {
            let closed = match ready!(Pin::new(&mut **socket).poll_next(cx)) {
                Some(Ok(Message::Binary(message))) if !self.codec.is_text() => {
                    return Poll::Ready(Ok(message));
                }
                Some(Ok(Message::Text(message))) if self.codec.is_text() => {
                    return Poll::Ready(Ok(message.into()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Binary(_) | Message::Text(_))) => LinkClosed {
                    detail: format!("{} was agreed", self.codec.subprotocol()),
                    ..LinkClosed::default()
                },
                Some(Ok(Message::Close(frame))) => closed_with(frame),
                Some(Err(error)) => closed_by(error),
                None => closed_by(Error::ConnectionClosed),
            };
            return Poll::Ready(Err(closed));
        }
    }

    /// Says goodbye with `code`, at most for a second; what waits is written before.
    pub(crate) async fn shut_down(mut self, code: CloseCode) {
        let Phase::Open(socket) = &mut self.phase else {
            return;
        };
        let goodbye = async {
            for message in self.unsent.drain(..) {
                socket.feed(to_socket(self.codec, message)).await?;
            }
            let frame = CloseFrame {
                code: (code as u16).into(),
                reason: "".into(),
            };
            // By its full name: a boxed stream is also a `Sink` when some crate turns that feature on.
            WebSocketStream::close(socket, Some(frame)).await?;
            // The close handshake is over when the server has closed its side.
            while let Some(message) = socket.next().await {
                message?;
            }
            Ok::<(), Error>(())
        };
        // Whatever goes wrong here, the link is over.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, goodbye).await;
    }
}

fn to_socket(codec: Codec, message: Bytes) -> Message {
    if codec.is_text() {
        let text = Utf8Bytes::try_from(message).expect("the JSON codec writes text");
        Message::Text(text)
    } else {
        Message::Binary(message)
    }
}

fn closed_with(frame: Option<CloseFrame>) -> LinkClosed {
    match frame {
        Some(frame) => LinkClosed {
            code: Some(frame.code.into()),
            detail: wire::cut_detail(frame.reason.as_str().to_owned()),
            ..LinkClosed::default()
        },
        None => LinkClosed {
            detail: "closed by the server without a code".into(),
            ..LinkClosed::default()
        },
    }
}

fn closed_by(error: Error) -> LinkClosed {
    match error {
        Error::Http(response) => refused(&response),
        error => LinkClosed {
            detail: wire::cut_detail(error.to_string()),
            ..LinkClosed::default()
        },
    }
}

/// A handshake that was answered with something else than 101.
fn refused(response: &Response<Option<Vec<u8>>>) -> LinkClosed {
    let retry_after = retry_after(response.headers());
    let mut detail = format!("the handshake was answered with HTTP {}", response.status());
    if let Some(location) = text_of(response.headers(), LOCATION) {
        detail = format!("{detail}, which leads to {location}");
    }
    LinkClosed {
        http_status: Some(response.status().as_u16()),
        retry_after,
        detail: wire::cut_detail(detail),
        ..LinkClosed::default()
    }
}
