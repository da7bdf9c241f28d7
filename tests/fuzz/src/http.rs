//! Sessions over HTTP, both ends. A request's body: what it says is an honest request, or a refusal with a status. What
//! a client is answered: any statuses, bodies and events, in any order: no panic, no spin, at most two links, one POST
//! under way on each.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tidewire_core::event_stream::StreamEvent;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{
    ClientKind, Codec, Hello, Limits, PROTOCOL_VERSION, ServerKind, Welcome,
};
use tidewire_core::{
    ClientId, Config, ConnId, Door as Where, HttpResponse, Input, MemoryOutbox, NetworkHint,
    Output, Probed, RequestId, Session, TransportKind,
};
use tidewire_server::connection::ConnectionConfig;
use tidewire_server::connection::http::{Desk, Door, HttpRequest, HttpSession, Polls, Refused};

use crate::any;
use crate::script::Script;

const CODECS: [Codec; 2] = [Codec::Protobuf, Codec::Json];
const DOORS: [Door; 3] = [Door::Stream, Door::Poll, Door::Push];
const TRANSPORTS: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];
const STATUSES: [u16; 14] = [
    200, 200, 200, 0, 302, 400, 401, 403, 404, 409, 410, 413, 429, 503,
];

/// One input, many outputs: more than this is spinning.
const OUTPUTS_MAX: usize = 2_000;

/// A body: any bytes, or frames of which the first may be a hello.
pub(crate) fn request(input: &[u8]) {
    let mut script = Script::new(input);
    let codec = CODECS[script.below(2)];
    let door = DOORS[script.below(3)];
    let body = match script.flag() {
        true => Bytes::copy_from_slice(script.rest()),
        false => {
            let mut body = BytesMut::new();
            if !script.flag() {
                codec.encode_client(ClientKind::Hello(hello(&mut script)), &mut body);
            }
            while !script.is_over() {
                codec.encode_client(any::client_frame(&mut script), &mut body);
            }
            body.freeze()
        }
    };
    let config = ConnectionConfig::default();
    match HttpRequest::read(door, codec, body, &config) {
        Ok(HttpRequest::Open(message)) => {
            assert_ne!(door, Door::Push);
            assert!(matches!(frames(codec, message)[0], ClientKind::Hello(_)));
        }
        Ok(HttpRequest::Poll {
            number, message, ..
        }) => {
            assert!(door == Door::Poll && number > 1);
            take(codec, Some(number), 0, message);
        }
        Ok(HttpRequest::Post(post)) => {
            assert_eq!(door, Door::Push);
            let own = frames(codec, post.message);
            assert!(matches!(own[0], ClientKind::Hello(_)));
            let is_push = |frame: &ClientKind| matches!(frame, ClientKind::Push(_));
            assert!(own[1..].iter().all(is_push));
            assert_eq!(post.replies.is_done(), own.len() == 1);
            let others = frames(codec, post.for_session.clone());
            assert!(!others.iter().any(is_push));
            assert_eq!(own.len() - 1 + others.len(), post.frames);
            assert!(others.is_empty() || post.handle.is_some());
            assert_eq!(
                post.replies.finish().len().min(1),
                usize::from(own.len() > 1)
            );
            take(codec, None, post.number, post.for_session);
        }
        Err(refused) => {
            assert!((400..500).contains(&refused.status), "{refused:?}");
            let body = refused.body(codec);
            let read = Refused::of_message(codec, &body).expect("one fatal error");
            assert_eq!(read.code, refused.code);
        }
    }
}

fn frames(codec: Codec, message: Bytes) -> Vec<ClientKind> {
    // What a POST has for the session may be nothing, which is not a message: JSON needs its brackets.
    if message.is_empty() {
        return Vec::new();
    }
    let bytes = message.len();
    codec
        .decode_client(message, bytes)
        .expect("it was encoded here")
}

/// What a session takes once, it takes from no copy.
fn take(codec: Codec, poll: Option<u32>, post: u32, message: Bytes) {
    let mut desk = Desk::open(codec, Bytes::new(), Some(1));
    desk.let_in(HttpSession::new("ana".into(), codec, Some(Polls::opened())));
    while desk.heard().is_some() {}
    let mut offer = || {
        let poll = poll.map(|number| (number, 2));
        let taken = desk.accept("ana", codec, poll, post, message.clone());
        let heard = std::iter::from_fn(|| desk.heard()).count();
        (taken.is_ok(), heard)
    };
    let (first, again) = (offer(), offer());
    match poll {
        Some(2) => assert!(first.0 && !again.0),
        Some(_) => assert!(!first.0 && !again.0),
        None if post > 0 => assert!(first.0 && again.0 && again.1 <= 1),
        None => assert_eq!(first, again),
    }
}

fn hello(script: &mut Script<'_>) -> Hello {
    let mut text = |max| Bytes::copy_from_slice(script.bytes(max));
    let session = match text(1).first() {
        Some(byte) if byte % 2 == 1 => Bytes::from_static(&[7; 20]),
        _ => text(24),
    };
    Hello {
        version: PROTOCOL_VERSION,
        token: "dev:ana".into(),
        client: Bytes::from_static(&[1; 16]),
        expect_author: text(16),
        session,
        poll: script.number32(),
        ..Hello::default()
    }
}

/// A client, and whatever answers it.
struct Client {
    session: Session,
    store: MemoryOutbox,
    now: Now,
    wake_at: Option<MonoTime>,
    /// What is open, and whether it is over HTTP.
    links: BTreeMap<ConnId, bool>,
    asked: BTreeMap<RequestId, (ConnId, Where)>,
    probe: Option<u64>,
}

/// What a client is answered.
pub(crate) fn response(input: &[u8]) {
    let mut script = Script::new(input);
    let mut config = Config::default();
    config.codec = CODECS[script.below(2)];
    let from = script.below(3);
    config.transports = TRANSPORTS[from..].into();
    let codec = config.codec;
    let now = Now {
        mono: MonoTime(1_000),
        unix: UnixTime(1_700_000_000_000),
    };
    let mut client = Client {
        session: Session::new(config, 7, now),
        store: MemoryOutbox::new(ClientId([1; 16])),
        now,
        wake_at: None,
        links: BTreeMap::new(),
        asked: BTreeMap::new(),
        probe: None,
    };
    client.session.connect(now);
    client.drain();
    let name = "board:a".parse().expect("a name");
    client.session.subscribe(now, name).expect("there is room");
    client.drain();
    while !script.is_over() {
        client.step(&mut script, codec);
    }
}

impl Client {
    fn step(&mut self, script: &mut Script<'_>, codec: Codec) {
        let link = |client: &Self, at: usize| client.links.keys().copied().nth(at);
        let conn = link(self, script.below(2)).unwrap_or(ConnId(1));
        let input = match script.below(10) {
            0 => {
                let ms = self
                    .wake_at
                    .map_or(0, |at| at.0.saturating_sub(self.now.mono.0));
                self.now.mono.0 += ms;
                self.now.unix.0 += ms;
                Input::Timeout
            }
            1 => Input::Opened { conn },
            2 | 3 => {
                let asked: Vec<_> = self.asked.iter().map(|(r, of)| (*r, *of)).collect();
                let at = script.below(asked.len().max(1));
                let Some((request, (conn, door))) = asked.get(at).copied() else {
                    return;
                };
                self.asked.remove(&request);
                if door == Where::Stream && script.flag() {
                    Input::Opened { conn }
                } else {
                    Input::Response {
                        conn,
                        request,
                        response: HttpResponse {
                            status: STATUSES[script.below(STATUSES.len())],
                            retry_after: None,
                            unheld: script.flag(),
                            body: message(script, codec),
                            detail: String::new(),
                        },
                    }
                }
            }
            4 | 5 => Input::Event {
                conn,
                event: event(script, codec),
            },
            6 => Input::Closed {
                conn,
                reason: tidewire_core::LinkClosed::default(),
            },
            7 => match self.probe.take() {
                Some(probe) => Input::Probed {
                    probe,
                    found: [Probed::Live, Probed::Stranger, Probed::Nobody][script.below(3)],
                },
                None => Input::Network(NetworkHint::Online),
            },
            8 => Input::Token(Ok("dev:ana".into())),
            _ => Input::Received {
                conn,
                message: message(script, codec),
            },
        };
        if let Input::Closed { conn, .. } = &input {
            self.links.remove(conn);
        }
        self.session.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.session.poll_output() {
                Output::Wait(at) => {
                    self.wake_at = at;
                    assert!(self.links.len() <= 2, "{:?}", self.links);
                    return;
                }
                Output::Open { conn, .. } => {
                    self.links.insert(conn, false);
                }
                Output::Request {
                    conn,
                    request,
                    door,
                    last,
                    ..
                } => {
                    if !last {
                        self.links.insert(conn, true);
                        let of_link = self.asked.values().filter(|of| **of == (conn, door));
                        assert_eq!(of_link.count(), 0, "two {door:?} of {conn:?} at a time");
                        self.asked.insert(request, (conn, door));
                    }
                }
                Output::Abort { request, .. } => {
                    self.asked.remove(&request);
                }
                Output::Close { conn, .. } => {
                    self.links.remove(&conn);
                    self.asked.retain(|_, (of, _)| *of != conn);
                }
                Output::Probe { probe } => self.probe = Some(probe),
                Output::Outbox(request) => {
                    let reply = self.store.handle(request);
                    self.session.handle_input(self.now, Input::Outbox(reply));
                }
                Output::Send { .. } | Output::FetchToken | Output::Event(_) => {}
            }
        }
        panic!("one input, endless outputs");
    }
}

fn message(script: &mut Script<'_>, codec: Codec) -> Bytes {
    let mut message = BytesMut::new();
    match script.below(4) {
        0 => return Bytes::copy_from_slice(script.bytes(40)),
        1 => codec.encode_server(
            ServerKind::Welcome(Welcome {
                session: Bytes::from_static(&[9; 16]),
                principal: "ana".into(),
                author: Bytes::from_static(&[7; 16]),
                limits: Some(Limits::DEFAULT),
                heartbeat_ms: 25_000,
                home: 1,
                ..Welcome::default()
            }),
            &mut message,
        ),
        frames => {
            for _ in 1..frames {
                codec.encode_server(any::server_frame(script), &mut message);
            }
        }
    }
    message.freeze()
}

fn event(script: &mut Script<'_>, codec: Codec) -> StreamEvent {
    let kind = ["message", "message", "b64", "later"][script.below(4)];
    StreamEvent {
        kind: kind.into(),
        data: match script.flag() {
            true => script.bytes(40).to_vec(),
            false if codec.is_text() => message(script, codec).to_vec(),
            false => base64(&message(script, codec)).into_bytes(),
        },
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { digit.into() });
        }
    }
    text
}
