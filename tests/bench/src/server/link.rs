//! One connection of the load: a WebSocket, or what a member hears over HTTP.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
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

use super::events::Events;
use super::polls::Polls;

type Socket = WebSocketStream<TcpStream>;

/// A message is read whole where it fits.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// What a link goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A WebSocket, in Protobuf.
    WebSocket,
    /// A stream of server-sent events.
    Events(Codec),
    /// Long polls, in Protobuf.
    Polls,
}

/// A way to a program under test.
#[derive(Debug)]
pub struct Link {
    sender: Sender,
    receiver: Receiver,
}

/// Where messages go out. Over HTTP members only listen, and there is none.
#[derive(Debug)]
pub struct Sender(Option<SplitSink<Socket, Message>>);

/// Where messages come in.
#[derive(Debug)]
pub enum Receiver {
    /// Over a WebSocket.
    WebSocket(SplitStream<Socket>),
    /// Over a stream.
    Events(Events),
    /// As answers to polls.
    Polls(Polls),
}

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
            sender: Sender(Some(sender)),
            receiver: Receiver::WebSocket(receiver),
        })
    }

    /// Connects to the server and says who it is, without waiting for what is answered.
    ///
    /// Errors: no connection, or the server refuses at once.
    pub async fn introduce(
        over: Over,
        address: SocketAddr,
        it: &Introduction<'_>,
    ) -> anyhow::Result<Self> {
        let receiver = match over {
            Over::WebSocket => {
                let mut link = Self::open(address, "/v1/ws").await?;
                link.send(it.message(Codec::Protobuf, 0)).await?;
                return Ok(link);
            }
            Over::Events(codec) => Receiver::Events(Events::open(address, codec, it).await?),
            Over::Polls => Receiver::Polls(Polls::open(address, it).await?),
        };
        Ok(Self {
            sender: Sender(None),
            receiver,
        })
    }

    /// Connects to the server as a client of its own, and subscribes to a channel; returns where the
    /// channel stood.
    ///
    /// Errors: no connection, or the server refuses.
    pub async fn subscribe(
        over: Over,
        address: SocketAddr,
        it: &Introduction<'_>,
    ) -> anyhow::Result<(Self, Cursor)> {
        let mut link = Self::introduce(over, address, it).await?;
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
            for frame in self.receiver.decode(message)? {
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

    /// The frames of a message of the server.
    ///
    /// Errors: it is none.
    pub fn decode(&self, message: Bytes) -> anyhow::Result<Vec<ServerKind>> {
        self.receiver.decode(message)
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
#[derive(Clone, Copy, Debug)]
pub struct Introduction<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The client's id.
    pub client: [u8; 16],
    /// Where it has got to.
    pub have: Option<Cursor>,
}

impl Introduction<'_> {
    pub(super) fn hello(&self) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            token: "ana".into(),
            client: Bytes::copy_from_slice(&self.client),
            ..Hello::default()
        }
    }

    /// `poll`: the number of the poll that it is, if it is one.
    pub(super) fn message(&self, codec: Codec, poll: u32) -> Bytes {
        let hello = Hello {
            poll,
            ..self.hello()
        };
        let subscribe = Subscribe {
            channel: self.channel.into(),
            have: self.have,
            max_epoch: self.have.map_or(0, |cursor| cursor.epoch),
            ..Subscribe::default()
        };
        let mut message = BytesMut::new();
        codec.encode_client(ClientKind::Hello(hello), &mut message);
        codec.encode_client(ClientKind::Subscribe(subscribe), &mut message);
        message.freeze()
    }
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
    /// Errors: the link is broken, or goes over HTTP.
    pub async fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        let socket = self.0.as_mut().context("over HTTP members only listen")?;
        Ok(socket.send(Message::Binary(message)).await?)
    }
}

impl Receiver {
    /// The next message.
    ///
    /// Errors: the link ended, with what the program said last.
    pub async fn next(&mut self) -> anyhow::Result<Bytes> {
        match self {
            Self::WebSocket(socket) => match socket.next().await {
                Some(Ok(Message::Binary(message))) => Ok(message),
                Some(Ok(other)) => bail!("the program under test said {other:?}"),
                Some(Err(error)) => Err(error.into()),
                None => bail!("the program under test hung up"),
            },
            Self::Events(events) => events.next().await,
            Self::Polls(polls) => polls.next().await,
        }
    }

    /// What its messages are in.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Events(events) => events.codec(),
            Self::WebSocket(_) | Self::Polls(_) => Codec::Protobuf,
        }
    }

    /// The frames of a message of the server.
    ///
    /// Errors: it is none.
    pub fn decode(&self, message: Bytes) -> anyhow::Result<Vec<ServerKind>> {
        let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
        Ok(self.codec().decode_server(message, bytes_max)?)
    }
}
