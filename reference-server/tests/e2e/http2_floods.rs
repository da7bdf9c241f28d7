//! Clients that speak HTTP/2 to wear the server out: streams that are reset, headers that never end, more streams than
//! may be, data without any. Each is cut off, and everybody else is served.

use std::time::Duration;

use tidewire_core::wire::{ClientKind, Codec, Ping, Pong, ServerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Asker, PROTO};
use crate::support::{DEADLINE, Program};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// More than all that sockets keep: a client that gets so many bytes through is not cut off.
const FLOOD_BYTES: usize = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `POST PATH` as a block of HPACK without tables of its own.
fn post(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], PROTO);
    block
}

/// A connection whose frames are made by hand.
struct Hostile(TcpStream);

impl Hostile {
    async fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let begin = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(SETTINGS, 0, 0, &[]),
        ]
        .concat();
        stream.write_all(&begin).await.unwrap();
        Self(stream)
    }

    /// Sends so many bytes of frames, or until the connection is gone; whether that happened, and the last error code that
    /// was told for it.
    async fn floods(
        self,
        most: usize,
        mut next: impl FnMut(u32) -> Vec<u8> + Send,
    ) -> (bool, Option<u32>) {
        let (mut reads, mut writes) = self.0.into_split();
        let reading = tokio::spawn(async move {
            let mut told = None;
            while let Some((kind, _, payload)) = read(&mut reads).await {
                if kind == GOAWAY {
                    told = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
                }
            }
            told
        });
        let sending = async {
            let (mut sent, mut n) = (0, 0);
            while sent < most {
                // Many at a time: it is a flood.
                let frames: Vec<u8> = (n..n + 100).flat_map(&mut next).collect();
                if writes.write_all(&frames).await.is_err() {
                    return true;
                }
                sent += frames.len();
                n += 100;
            }
            false
        };
        let sending = timeout(DEADLINE, sending).await;
        let is_cut_off = sending.expect("it is cut off, or takes all");
        drop(writes);
        let told = timeout(DEADLINE, reading).await.expect("it ends");
        (is_cut_off, told.unwrap())
    }
}

/// Kind, stream and payload of the next frame.
async fn read(from: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    from.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
    Some((head[3], stream, payload))
}

/// Somebody with a stream of events, who must not notice anything.
async fn bystander(server: &Program) -> crate::http::Session {
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ben")
        .two()
        .await;
    asker.welcomed(&[]).await
}

async fn is_served(session: &mut crate::http::Session, t: u64) {
    let ping = [ClientKind::Ping(Ping { t })];
    assert_eq!(session.asker.post(&ping).await, []);
    let pong = |frame| (frame == ServerKind::Pong(Pong { t })).then_some(());
    let answered = timeout(Duration::from_secs(8), session.events.find(pong));
    answered.await.expect("nobody else is slowed down");
}

#[tokio::test]
async fn floods_over_http2_are_cut_off_and_others_do_not_notice() {
    let server = Program::start(&[]);
    let mut ben = bystander(&server).await;
    let address = server.public();
    let stream = |n: u32| n * 2 + 1;

    // Opened and reset at once, as fast as it goes.
    let reset = |n| {
        let begun = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream(n),
            &post("/v1/sse"),
        );
        [begun, frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat()
    };
    let hostile = Hostile::connect(&address).await;
    let (is_cut_off, told) = hostile.floods(FLOOD_BYTES, reset).await;
    assert!(is_cut_off, "every reset was taken");
    assert!(
        told.is_none_or(|code| code == ENHANCE_YOUR_CALM),
        "{told:?}"
    );
    is_served(&mut ben, 1).await;

    // Headers whose end never comes.
    let endless = |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &post("/v1/sse")),
        _ => {
            // A field that is not indexed: 2 bytes of name, 200 of value.
            let field = [&[0x00, 2, b'x', b'y', 0x7f, 73][..], &[b'v'; 200]].concat();
            frame(CONTINUATION, 0, 1, &field)
        }
    };
    let hostile = Hostile::connect(&address).await;
    let (is_cut_off, _) = hostile.floods(FLOOD_BYTES, endless).await;
    assert!(is_cut_off, "headers of any length are taken");
    is_served(&mut ben, 2).await;

    // Requests that are malformed, each a reset of the server's own.
    let wrong = |n| {
        let block = [&post("/v1/sse")[..], &[0x00, 2, b'X', b'Y', 1, b'v']].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &block)
    };
    let hostile = Hostile::connect(&address).await;
    let (is_cut_off, _) = hostile.floods(FLOOD_BYTES, wrong).await;
    assert!(is_cut_off, "every malformed request was taken");
    is_served(&mut ben, 3).await;
}

#[tokio::test]
async fn frames_without_data_slow_nobody_down() {
    let server = Program::start(&[]);
    let mut ben = bystander(&server).await;
    let mut hostile = Hostile::connect(&server.public()).await;
    let begun = frame(HEADERS, END_HEADERS, 1, &post("/v1/push"));
    hostile.0.write_all(&begun).await.unwrap();
    // Frames without data, and none is the last.
    hostile.floods(200_000, |_| frame(DATA, 0, 1, &[])).await;
    is_served(&mut ben, 1).await;
}

#[tokio::test]
async fn who_opens_more_streams_than_were_announced_is_refused_and_then_cut_off() {
    let server = Program::start(&[]);
    let mut ben = bystander(&server).await;
    let mut hostile = Hostile::connect(&server.public()).await;
    // Requests whose bodies do not come: they stay. In one write, which no answer can be ahead of.
    let request = |n: u32| frame(HEADERS, END_HEADERS, n * 2 + 1, &post("/v1/push"));
    let requests: Vec<u8> = (0..150).flat_map(request).collect();
    hostile.0.write_all(&requests).await.unwrap();
    let (mut announced, mut refused) = (None, Vec::new());
    let reading = async {
        while let Some((kind, stream, payload)) = read(&mut hostile.0).await {
            let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                SETTINGS => {
                    let settings = payload.chunks(6);
                    // SETTINGS_MAX_CONCURRENT_STREAMS
                    let mut found = settings.filter(|it| it[..2] == [0, 3]);
                    announced = announced.or(found.next().map(|it| it[5]));
                }
                RST_STREAM => {
                    assert_eq!(code(0), REFUSED_STREAM);
                    refused.push(stream);
                }
                GOAWAY => return code(4),
                _ => {}
            }
        }
        panic!("it is told why");
    };
    let told = timeout(DEADLINE, reading).await.expect("it is cut off");
    assert_eq!((announced, told), (Some(100), ENHANCE_YOUR_CALM));
    // The first hundred are none of those.
    assert!(refused.iter().all(|stream| *stream > 200), "{refused:?}");
    is_served(&mut ben, 1).await;
}
