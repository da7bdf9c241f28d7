//! What carries messages between a client and its connection, and WebSocket as one way.

use std::future::{Future, pending};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::wire::{Codec, ErrorCode};
use tokio::time::timeout;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode as Code;
use tungstenite::{Error, Message};

use super::upgraded::Upgraded;
use crate::connection::{EndReason, Ending, Fault};
use crate::principal::Principal;
use crate::socket::Socket;
use crate::transport::Transport;

/// How long a client may take to hang up.
const HANG_UP: Duration = Duration::from_secs(1);

/// The way to one client, for one task that listens and writes in turns.
pub(crate) trait Link: Send + Sync {
    /// As what it counts; `None`: it carries no session.
    const TRANSPORT: Option<Transport>;

    /// Whether there are times when nothing can be sent; then [`Link::ready`] says when something can.
    const WAITS: bool = false;

    /// What comes next. Cancel-safe.
    fn recv(&self) -> impl Future<Output = Received> + Send;

    /// Waits until a message can be sent. Cancel-safe.
    fn ready(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Hands over one message, whole. Whoever gives up on it must not send another one.
    fn send(&self, message: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until the link itself has something to send; [`Link::flush`] does so. Cancel-safe.
    fn due(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Sends what is due.
    fn flush(&self) -> impl Future<Output = io::Result<()>> + Send {
        async { Ok(()) }
    }

    /// The client was let in as this principal, and its session has this name.
    fn let_in(&self, _principal: &Principal, _session: [u8; 16]) {}

    /// Says why the connection ends, if that can still be said, and waits a moment for the client to go.
    fn close(&self, ending: Ending) -> impl Future<Output = ()> + Send;
}

/// What a link heard.
#[derive(Debug)]
pub(crate) enum Received {
    /// One message, whole.
    Message(Bytes),
    /// A sign of life that is no message.
    Life,
    /// Something that is no message.
    Refused(Fault),
    /// Nothing more comes.
    Gone(Ending),
}

/// A WebSocket after its handshake.
pub(crate) struct WebSocketLink {
    socket: Socket<Upgraded>,
    codec: Codec,
    bytes_max: usize,
}

impl WebSocketLink {
    /// A message above `bytes_max` is refused.
    pub(crate) fn new(stream: hyper::upgrade::Upgraded, codec: Codec, bytes_max: usize) -> Self {
        let (stream, read) = Upgraded::new(stream);
        Self {
            socket: Socket::new(stream, read, bytes_max),
            codec,
            bytes_max,
        }
    }

    /// What an error of the WebSocket layer says about the client.
    fn error(&self, error: &Error) -> Received {
        let fault = match error {
            Error::Capacity(_) => Fault::new(
                ErrorCode::FrameTooLarge,
                format!("message over {} bytes", self.bytes_max),
            ),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                return Received::Gone(Ending::BROKEN);
            }
            Error::Protocol(_) | Error::Utf8(_) => {
                Fault::new(ErrorCode::Malformed, error.to_string())
            }
            _ => return Received::Gone(Ending::BROKEN),
        };
        Received::Refused(fault)
    }

    fn wrong_kind(&self) -> Received {
        let agreed = self.codec.subprotocol();
        let (right, wrong) = if self.codec.is_text() {
            ("text", "binary")
        } else {
            ("binary", "text")
        };
        Received::Refused(Fault {
            ending: Ending::WRONG_CODEC,
            code: ErrorCode::Malformed,
            detail: format!("{agreed} travels in {right} messages, not in {wrong} ones"),
        })
    }
}

impl Link for WebSocketLink {
    const TRANSPORT: Option<Transport> = Some(Transport::WebSocket);

    async fn recv(&self) -> Received {
        let is_text = self.codec.is_text();
        match self.socket.next().await {
            None => Received::Gone(Ending::AWAY),
            Some(Ok(Message::Close(close))) => {
                Received::Gone(match close.map(|close| close.code) {
                    None | Some(Code::Normal) => Ending::CLIENT,
                    Some(_) => Ending::AWAY,
                })
            }
            Some(Err(error)) => self.error(&error),
            Some(Ok(Message::Binary(message))) if !is_text => Received::Message(message),
            Some(Ok(Message::Text(message))) if is_text => Received::Message(message.into()),
            // Answered by the WebSocket layer, which hands out no single frames.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Received::Life,
            Some(Ok(Message::Binary(_) | Message::Text(_))) => self.wrong_kind(),
        }
    }

    fn send(&self, message: Bytes) -> impl Future<Output = io::Result<()>> + Send {
        self.socket.send(self.codec.is_text(), message)
    }

    async fn close(&self, ending: Ending) {
        let Some(code) = ending.close else { return };
        let frame = CloseFrame {
            code: (code as u16).into(),
            reason: match ending.reason {
                EndReason::Code(code) => code.name().into(),
                EndReason::Client | EndReason::Away | EndReason::Broken => "".into(),
            },
        };
        self.socket.close(frame).await;
        // A socket that is dropped with unread input is reset, and the last words with it.
        let hung_up = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let _ = timeout(HANG_UP, hung_up).await;
    }
}
