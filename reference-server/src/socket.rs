//! A client's WebSocket: a library reads it and keeps the protocol's rules, whole messages are written
//! past it.
//!
//! The library copies what it writes into a buffer that stays as large as the largest message was, and
//! the adapters around it keep wakers for two tasks. For a client that is idle that would be most of
//! what it costs; here reading and writing are one task.
//!
//! Invariant: a frame is written whole before another one starts. The library's answers to pings and
//! closes wait for a message under way, and a message waits for them.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// What an idle client keeps for its next message (docs/defaults.md). A larger message gets a buffer of
/// its own size while it is read, in as many steps.
const READ_BUFFER_BYTES: usize = 1024;

/// What the library may hold back: its answers to pings, never messages.
const ANSWERS_BYTES_MAX: usize = 4 * 1024;

/// The longest header of a frame without a mask.
const HEADER_BYTES_MAX: usize = 10;

/// One connection's socket, for one task that reads and writes it in turns.
pub(crate) struct Socket<S> {
    /// Never contended: there is one task. It lets both directions share what they borrow.
    state: Mutex<State<S>>,
}

struct State<S> {
    stream: S,
    protocol: WebSocketContext,
    /// The first bytes of a message were written and the last ones were not.
    mid_message: bool,
    /// Nothing more is read.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Takes over a stream after the handshake, with what was read behind that. A message above `message_bytes_max` is an
    /// error.
    pub(crate) fn new(stream: S, read: Bytes, message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(ANSWERS_BYTES_MAX)
            .max_frame_size(Some(message_bytes_max))
            .max_message_size(Some(message_bytes_max));
        Self {
            state: Mutex::new(State {
                stream,
                protocol: match read.is_empty() {
                    true => WebSocketContext::new(Role::Server, Some(config)),
                    false => WebSocketContext::from_partially_read(
                        read.into(),
                        Role::Server,
                        Some(config),
                    ),
                },
                mid_message: false,
                ended: false,
            }),
        }
    }

    /// The next message; `None` once the connection is closed, and after an error. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.state().poll_next(cx)).await
    }

    /// Writes one message. Whoever gives up on it must not write another one.
    pub(crate) async fn send(&self, is_text: bool, message: Bytes) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES_MAX];
        let len = write_header(is_text, message.len(), &mut header)?;
        let mut frame = Buf::chain(&header[..len], message);
        poll_fn(|cx| self.state().poll_send(cx, &mut frame)).await
    }

    /// Says why the connection ends, if that can still be said.
    pub(crate) async fn close(&self, frame: CloseFrame) {
        poll_fn(|cx| self.state().poll_close(cx, &frame)).await;
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_header(is_text: bool, payload_bytes: usize, mut out: &mut [u8]) -> io::Result<usize> {
    let header = FrameHeader {
        opcode: OpCode::Data(if is_text { Data::Text } else { Data::Binary }),
        ..FrameHeader::default()
    };
    let payload_bytes = payload_bytes as u64;
    header
        .format(payload_bytes, &mut out)
        .map_err(io::Error::other)?;
    Ok(header.len(payload_bytes))
}

impl<S: AsyncRead + AsyncWrite + Unpin> State<S> {
    /// Lets the library do something with the stream. Pending when that would have to wait.
    fn with_library<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut WebSocketContext, &mut Wire<'_, '_, S>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        let mut wire = Wire {
            stream: &mut self.stream,
            is_writable: !self.mid_message,
            cx,
        };
        match act(&mut self.protocol, &mut wire) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let read = ready!(self.with_library(cx, |library, wire| library.read(wire)));
        self.ended = read.is_err();
        Poll::Ready(match read {
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => None,
            read => Some(read),
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frame: &mut impl Buf) -> Poll<io::Result<()>> {
        if !self.mid_message {
            if !self.protocol.can_write() {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            }
            ready!(self.with_library(cx, |library, wire| library.flush(wire)))
                .map_err(io::Error::other)?;
        }
        while frame.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = frame.chunks_vectored(&mut slices);
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(cx, &slices[..filled]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            frame.advance(written);
            self.mid_message = frame.has_remaining();
        }
        // An answer that had to wait. What fails here fails again when the client is read.
        let _ = self.with_library(cx, |library, wire| library.flush(wire));
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, frame: &CloseFrame) -> Poll<()> {
        // The library says it once, however often it is asked, and not at all to who closed first.
        self.with_library(cx, |library, wire| library.close(wire, Some(frame.clone())))
            .map(drop)
    }
}

/// The stream as the library sees it: something that would block instead of waiting.
struct Wire<'a, 'cx, S> {
    stream: &'a mut S,
    is_writable: bool,
    cx: &'a mut Context<'cx>,
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Wire<'_, '_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        let stream = Pin::new(&mut *self.stream);
        or_would_block(stream.poll_read(self.cx, &mut into))?;
        Ok(into.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> Write for Wire<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.is_writable {
            true => or_would_block(Pin::new(&mut *self.stream).poll_write(self.cx, bytes)),
            // Whoever ends the message flushes what waits.
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        or_would_block(Pin::new(&mut *self.stream).poll_flush(self.cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const UP_MAX: usize = 64 * 1024;

    fn socket(pipe_bytes: usize) -> (Socket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(pipe_bytes);
        (Socket::new(ours, Bytes::new(), UP_MAX), theirs)
    }

    /// What a client sends: masked, as the protocol wants it.
    fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()).unwrap() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend(len.to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    async fn read(client: &mut DuplexStream, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        client.read_exact(&mut read).await.unwrap();
        read
    }

    #[tokio::test]
    async fn messages_of_every_length_have_the_header_that_fits() {
        for (len, header) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let (socket, mut client) = socket(100_000);
            let message = Bytes::from(vec![7; len]);
            socket.send(false, message.clone()).await.unwrap();
            assert_eq!(read(&mut client, header.len()).await, header);
            assert_eq!(read(&mut client, len).await, message);
        }
        let (socket, mut client) = socket(100);
        socket.send(true, "[]".into()).await.unwrap();
        assert_eq!(read(&mut client, 4).await, b"\x81\x02[]");
    }

    #[tokio::test]
    async fn an_answer_to_a_ping_waits_for_the_message_under_way() {
        let (socket, mut client) = socket(100);
        let message = Bytes::from(vec![7; 1000]);
        let mut sending = std::pin::pin!(socket.send(false, message.clone()));
        // The pipe is full, and the message is not over.
        assert!(futures_util::poll!(sending.as_mut()).is_pending());
        client.write_all(&from_client(0x9, b"hi")).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Ping(_)))));
        assert!(futures_util::poll!(std::pin::pin!(socket.next())).is_pending());
        let (sent, received) = tokio::join!(sending, read(&mut client, 4 + 1000));
        sent.unwrap();
        assert_eq!(received[4..], message);
        assert_eq!(read(&mut client, 4).await, b"\x8a\x02hi");
    }

    #[tokio::test]
    async fn a_message_waits_for_an_answer_that_is_half_written() {
        let (socket, mut client) = socket(3);
        let ping = from_client(0x9, b"hello");
        let (written, heard) = tokio::join!(client.write_all(&ping), socket.next());
        written.unwrap();
        assert!(matches!(heard, Some(Ok(Message::Ping(_)))));
        // Writes the first three bytes of the answer.
        assert!(futures_util::poll!(std::pin::pin!(socket.next())).is_pending());
        let (sent, received) =
            tokio::join!(socket.send(false, "x".into()), read(&mut client, 7 + 3));
        sent.unwrap();
        assert_eq!(received, b"\x8a\x05hello\x82\x01x");
    }

    #[tokio::test]
    async fn messages_larger_than_the_buffer_are_read_whole_and_too_large_ones_refused() {
        let (socket, mut client) = socket(UP_MAX + 100);
        let large = vec![9; UP_MAX - 1];
        client.write_all(&from_client(0x2, &large)).await.unwrap();
        match socket.next().await {
            Some(Ok(Message::Binary(message))) => assert_eq!(message, large),
            other => panic!("{other:?}"),
        }
        // The header alone is enough to refuse it.
        let header = [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
        client.write_all(&header).await.unwrap();
        assert!(matches!(socket.next().await, Some(Err(Error::Capacity(_)))));
        assert!(socket.next().await.is_none());
    }

    #[tokio::test]
    async fn nothing_is_sent_to_who_has_closed() {
        let (socket, mut client) = socket(100);
        client.write_all(&from_client(0x8, &[])).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
        assert!(socket.send(false, "late".into()).await.is_err());
        assert!(socket.next().await.is_none());
        assert_eq!(read(&mut client, 2).await, b"\x88\0");
    }

    #[tokio::test]
    async fn a_close_is_said_once_and_the_answer_ends_the_connection() {
        let (socket, mut client) = socket(100);
        let frame = CloseFrame {
            code: 1000.into(),
            reason: "bye".into(),
        };
        socket.close(frame.clone()).await;
        socket.close(frame).await;
        assert_eq!(read(&mut client, 7).await, b"\x88\x05\x03\xe8bye");
        assert!(socket.send(false, "late".into()).await.is_err());
        client.write_all(&from_client(0x8, &[])).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
        assert!(socket.next().await.is_none());
    }
}
