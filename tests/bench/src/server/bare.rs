//! What the server is compared with: whatever a member of a group says goes to all its members, and
//! nothing is decided, kept or looked at.
//!
//! The path of the upgrade names the group. Each member has a bounded queue and a writer that joins
//! everything that is ready into one write. A member whose queue is full is let go. Told to, it instead
//! answers each client with the same bytes whatever it says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use tidewire_core::wire::SUBPROTOCOL_PROTO;
use tokio::io::{AsyncWriteExt, Join, Sink, join, sink};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// As in the server.
const QUEUE_MAX: usize = 4096;
const SOCKET_BUFFER_BYTES: usize = 4 * 1024;

type Group = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;
type Groups = Arc<Mutex<HashMap<String, Group>>>;

/// The least that so many channels with one record are: a name, and the bytes of an entry.
pub(super) fn keep(channels: usize) -> HashMap<String, Vec<Vec<u8>>> {
    let entry = || vec![vec![b'x'; ENTRY_BYTES]];
    (0..channels).map(|n| (channel(n), entry())).collect()
}

/// A channel's name; an entry's bytes, as a record of 128 bytes is stored.
pub(super) fn channel(n: usize) -> String {
    format!("bench:kept-{n}")
}
const ENTRY_BYTES: usize = 200;

/// Serves until the process ends.
///
/// Errors: the listener fails.
pub(super) async fn run(listener: TcpListener, answer: &[usize]) -> anyhow::Result<Infallible> {
    let groups = Groups::default();
    let answer = answer.iter().map(|bytes| frame(&vec![0; *bytes]));
    let answer = Bytes::from(answer.collect::<anyhow::Result<Vec<_>>>()?.concat());
    loop {
        let (stream, _) = listener.accept().await?;
        let (groups, answer) = (Arc::clone(&groups), answer.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &groups, answer).await {
                eprintln!("a connection of the bare program: {error:#}");
            }
        });
    }
}

async fn serve(stream: TcpStream, groups: &Groups, answer: Bytes) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (queue, ready) = mpsc::channel(QUEUE_MAX);
    let mut group = Group::default();
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let upgrade = |request: &Request, mut response: Response| -> Result<_, ErrorResponse> {
        {
            let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
            let path = request.uri().path().to_owned();
            group = Arc::clone(groups.entry(path).or_default());
        }
        if answer.is_empty() {
            // Before the client hears that it is in: whatever is sent from then on reaches it.
            group
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(queue.clone());
        }
        let protocol = HeaderValue::from_static(SUBPROTOCOL_PROTO);
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let socket = accept_hdr_async_with_config(stream, upgrade, Some(config())).await?;
    let (read_half, write_half) = socket.into_inner().into_split();
    tokio::spawn(write(ready, write_half));
    if !answer.is_empty() {
        return reply(read_half, &queue, &answer).await;
    }
    drop(queue);
    relay(read_half, &group).await
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(SOCKET_BUFFER_BYTES)
}

/// The library parses what comes in; nothing goes out through it.
async fn incoming(read_half: OwnedReadHalf) -> WebSocketStream<Join<OwnedReadHalf, Sink>> {
    WebSocketStream::from_raw_socket(join(read_half, sink()), Role::Server, Some(config())).await
}

/// Answers every message of a client with the same bytes.
async fn reply(
    read_half: OwnedReadHalf,
    queue: &mpsc::Sender<Bytes>,
    answer: &Bytes,
) -> anyhow::Result<()> {
    let mut socket = incoming(read_half).await;
    while let Some(Ok(Message::Binary(_))) = socket.next().await {
        queue.try_send(answer.clone())?;
    }
    Ok(())
}

/// Hands every message of one member to all of them.
async fn relay(read_half: OwnedReadHalf, group: &Group) -> anyhow::Result<()> {
    let mut socket = incoming(read_half).await;
    while let Some(message) = socket.next().await {
        let Ok(Message::Binary(message)) = message else {
            break;
        };
        let frame = frame(&message)?;
        let mut members = group.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|queue| queue.try_send(frame.clone()).is_ok());
    }
    Ok(())
}

/// A binary message as one unmasked WebSocket frame.
fn frame(payload: &[u8]) -> anyhow::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(10 + payload.len());
    frame.put_u8(0x82);
    match payload.len() {
        len @ 0..126 => frame.put_u8(u8::try_from(len)?),
        len @ 126..0x1_0000 => {
            frame.put_u8(126);
            frame.put_u16(u16::try_from(len)?);
        }
        len => {
            frame.put_u8(127);
            frame.put_u64(len as u64);
        }
    }
    frame.put_slice(payload);
    Ok(frame.freeze())
}

/// Writes what is ready as one buffer; ends with the link or the queue.
async fn write(mut queue: mpsc::Receiver<Bytes>, mut socket: OwnedWriteHalf) {
    let mut ready = Vec::new();
    while queue.recv_many(&mut ready, QUEUE_MAX).await > 0 {
        let written = match ready.as_slice() {
            [one] => socket.write_all(one).await,
            many => socket.write_all(&many.concat()).await,
        };
        ready.clear();
        if written.is_err() {
            return;
        }
    }
}
