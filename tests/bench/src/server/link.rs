//! One connection of the load.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tidewire_core::wire::{
    ClientKind, Codec, Cursor, Hello, Limits, PROTOCOL_VERSION, SUBPROTOCOL_PROTO, ServerKind,
    Subscribe, client_message,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

type Socket = WebSocketStream<TcpStream>;

/// A message is read whole where it fits.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// A WebSocket to a program under test.
#[derive(Debug)]
pub struct Link {
    sender: Sender,
    receiver: Receiver,
}

/// Where messages go out.
#[derive(Debug)]
pub struct Sender(SplitSink<Socket, Message>);

/// Where messages come in.
#[derive(Debug)]
pub struct Receiver(SplitStream<Socket>);

impl Link {
    /// Connects, without a word on it yet.
    ///
    /// Errors: no connection, for instance for want of file descriptors.
    pub async fn open(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no connection to {address} (open files: `ulimit -Hn`)"))?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        let protocol = HeaderValue::from_static(SUBPROTOCOL_PROTO);
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        let (sender, receiver) = socket.split();
        Ok(Self {
            sender: Sender(sender),
            receiver: Receiver(receiver),
        })
    }

    /// Connects to the server as a client of its own, and subscribes to a channel; returns where the
    /// channel stood.
    ///
    /// Errors: no connection, or the server refuses.
    pub async fn subscribe(
        address: SocketAddr,
        channel: &str,
        client: [u8; 16],
        have: Option<Cursor>,
    ) -> anyhow::Result<(Self, Cursor)> {
        let mut link = Self::open(address, "/v1/ws").await?;
        link.send(introduction(channel, client, have)).await?;
        let cursor = link.until_subscribed().await?;
        Ok((link, cursor))
    }

    /// Subscribes to one more channel; returns where it stood.
    ///
    /// Errors: as [`Link::subscribe`].
    pub async fn subscribe_also(&mut self, channel: &str) -> anyhow::Result<Cursor> {
        let subscribe = client_message(ClientKind::Subscribe(Subscribe {
            channel: channel.into(),
            ..Subscribe::default()
        }));
        self.send(subscribe).await?;
        self.until_subscribed().await
    }

    async fn until_subscribed(&mut self) -> anyhow::Result<Cursor> {
        loop {
            let message = self.next().await?;
            let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
            for frame in Codec::Protobuf.decode_server(message, bytes_max)? {
                if let ControlFlow::Break(cursor) = subscribed(frame)? {
                    return Ok(cursor);
                }
            }
        }
    }

    /// Sends one message.
    ///
    /// Errors: the link is broken.
    pub async fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        self.sender.send(message).await
    }

    /// The next message.
    ///
    /// Errors: the link ended.
    pub async fn next(&mut self) -> anyhow::Result<Bytes> {
        self.receiver.next().await
    }

    /// Its two ends.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// What a client says first, in one message: who it is, and that it subscribes to a channel.
pub(super) fn introduction(channel: &str, client: [u8; 16], have: Option<Cursor>) -> Bytes {
    let hello = client_message(ClientKind::Hello(Hello {
        version: PROTOCOL_VERSION,
        token: "ana".into(),
        client: Bytes::copy_from_slice(&client),
        ..Hello::default()
    }));
    let subscribe = client_message(ClientKind::Subscribe(Subscribe {
        channel: channel.into(),
        have,
        max_epoch: have.map_or(0, |cursor| cursor.epoch),
        ..Subscribe::default()
    }));
    [hello, subscribe].concat().into()
}

/// Whether a frame says that the subscription is live, and where it stands.
fn subscribed(frame: ServerKind) -> anyhow::Result<ControlFlow<Cursor>> {
    match frame {
        ServerKind::SnapshotEnd(end) => Ok(ControlFlow::Break(end.cursor.unwrap_or_default())),
        ServerKind::Resume(resume) => Ok(ControlFlow::Break(resume.head.unwrap_or_default())),
        // Who is there comes after the state, also of the channel before.
        ServerKind::Welcome(_)
        | ServerKind::SnapshotBegin(_)
        | ServerKind::SnapshotPart(_)
        | ServerKind::Presence(_) => Ok(ControlFlow::Continue(())),
        other => bail!("the server answered with {other:?}"),
    }
}

impl Sender {
    /// Sends one message.
    ///
    /// Errors: the link is broken.
    pub async fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Binary(message)).await?)
    }
}

impl Receiver {
    /// The next message.
    ///
    /// Errors: the link ended, with what the program said last.
    pub async fn next(&mut self) -> anyhow::Result<Bytes> {
        match self.0.next().await {
            Some(Ok(Message::Binary(message))) => Ok(message),
            Some(Ok(other)) => bail!("the program under test said {other:?}"),
            Some(Err(error)) => Err(error.into()),
            None => bail!("the program under test hung up"),
        }
    }
}
