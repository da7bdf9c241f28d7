//! Whoever breaks the contract is told why, and ends alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire_core::wire::{
    ClientKind, Codec, ErrorCode, Hello, Ping, Pong, ServerKind, client_message, server_message,
};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, Program, card, client_id, hello, push, put};

const PROTOCOL_ERROR: u16 = 1002;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// A broken message, sent after `hello` or instead of it.
struct Case {
    what: &'static str,
    welcome_first: bool,
    message: Bytes,
    code: ErrorCode,
    close: u16,
}

fn bad_hello(change: impl Fn(&mut Hello)) -> Bytes {
    let ClientKind::Hello(mut frame) = hello("ana") else {
        unreachable!()
    };
    change(&mut frame);
    client_message(ClientKind::Hello(frame))
}

fn cases() -> Vec<Case> {
    let case = |what, welcome_first, message: Bytes, code, close| Case {
        what,
        welcome_first,
        message,
        code,
        close,
    };
    let ping = client_message(ClientKind::Ping(Ping { t: 1 }));
    let mut later_broken = ping.to_vec();
    later_broken.extend_from_slice(&[0xff; 4]);
    let many = (0..300).map(|i| put(card(&i.to_string(), "x"))).collect();
    vec![
        case(
            "not protobuf",
            true,
            Bytes::from_static(&[0xff; 16]),
            ErrorCode::Malformed,
            PROTOCOL_ERROR,
        ),
        case(
            "not protobuf, first",
            false,
            Bytes::from_static(b"\xffhello"),
            ErrorCode::Malformed,
            PROTOCOL_ERROR,
        ),
        case(
            "truncated",
            true,
            ping.slice(..ping.len() - 1),
            ErrorCode::Malformed,
            PROTOCOL_ERROR,
        ),
        case(
            "a good frame, then rubbish",
            true,
            later_broken.into(),
            ErrorCode::Malformed,
            PROTOCOL_ERROR,
        ),
        case(
            "length past the end",
            true,
            Bytes::from_static(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            ErrorCode::Malformed,
            PROTOCOL_ERROR,
        ),
        case(
            "an unknown frame type",
            true,
            // frames { 99: {} }
            Bytes::from_static(&[0x0a, 0x03, 0x9a, 0x06, 0x00]),
            ErrorCode::UnknownFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a frame of the other direction",
            true,
            server_message(ServerKind::Lagged(tidewire_core::wire::Lagged {
                channel: "a:b".into(),
            })),
            ErrorCode::UnknownFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "an empty frame",
            true,
            Bytes::from_static(&[0x0a, 0x00]),
            ErrorCode::UnknownFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a frame before hello",
            false,
            ping,
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "hello twice",
            true,
            client_message(hello("ana")),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a ping beyond 2^53",
            true,
            client_message(ClientKind::Ping(Ping { t: 1 << 53 })),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "an epoch beyond 2^53",
            true,
            client_message(push("board:main", 1 << 53, 1, vec![put(card("1", "x"))])),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "an unknown version",
            false,
            bad_hello(|hello| hello.version = 2),
            ErrorCode::UnsupportedVersion,
            PROTOCOL_ERROR,
        ),
        case(
            "version zero",
            false,
            bad_hello(|hello| hello.version = 0),
            ErrorCode::UnsupportedVersion,
            PROTOCOL_ERROR,
        ),
        case(
            "a client id of the wrong length",
            false,
            bad_hello(|hello| hello.client = client_id("ana").slice(..15)),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a max_frame too small for anything",
            false,
            bad_hello(|hello| hello.max_frame = 10),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a wrong token",
            false,
            bad_hello(|hello| hello.token = "nonsense".into()),
            ErrorCode::Unauthenticated,
            POLICY,
        ),
        case(
            "a push with too many items",
            true,
            client_message(push("board:main", 1, 1, many)),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a push that counts from zero",
            true,
            client_message(push("board:main", 1, 0, vec![put(card("1", "x"))])),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a push whose lowest number is zero",
            true,
            client_message(ClientKind::Push(tidewire_core::wire::Push {
                channel: "board:main".into(),
                epoch: 1,
                first_n: 1,
                low: 0,
                items: vec![put(card("1", "x"))],
            })),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a token over its limit",
            false,
            bad_hello(|hello| hello.token = format!("dev:{}", "x".repeat(16 * 1024))),
            ErrorCode::UnexpectedFrame,
            PROTOCOL_ERROR,
        ),
        case(
            "a message just over the limit",
            true,
            Bytes::from(vec![0; 128 * 1024 + 1]),
            ErrorCode::FrameTooLarge,
            TOO_BIG,
        ),
        case(
            "a message far over the limit",
            true,
            Bytes::from(vec![0; 4 * 1024 * 1024]),
            ErrorCode::FrameTooLarge,
            TOO_BIG,
        ),
        case(
            "a first message over the limit",
            false,
            Bytes::from(vec![0; 256 * 1024]),
            ErrorCode::FrameTooLarge,
            TOO_BIG,
        ),
    ]
}

#[tokio::test]
async fn out_of_contract_frames_end_their_own_connection_with_a_code() {
    let server = Program::start(&[]);
    let mut witness = server.client("witness").await;
    let start = witness.subscribe("board:main").await;
    let mut n = 0;
    for Case {
        what,
        welcome_first,
        message,
        code,
        close,
    } in cases()
    {
        let mut client = match welcome_first {
            true => server.client("ana").await,
            false => Client::connect(&server.public(), None).await.unwrap(),
        };
        client.send_raw(Message::Binary(message)).await;
        let (fatal, closed) = client.end().await;
        let fatal = fatal.unwrap_or_else(|| panic!("{what}: no error frame"));
        assert_eq!(fatal.code, code as u32, "{what}: {}", fatal.detail);
        assert!(!fatal.detail.is_empty(), "{what}");
        assert_eq!(closed, Some(close), "{what}");
        n += 1;
        let item = vec![put(card("1", what))];
        witness
            .send([push("board:main", start.cursor.epoch, n, item)])
            .await;
        witness
            .find(|frame| matches!(frame, ServerKind::Ack(ack) if ack.through == n).then_some(()))
            .await;
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn a_message_of_the_other_kind_is_unsupported_data() {
    let server = Program::start(&[]);
    let ping = client_message(ClientKind::Ping(Ping { t: 1 }));
    for (codec, message) in [
        (Codec::Protobuf, Message::text(r#"[{"type":"ping","t":1}]"#)),
        (Codec::Json, Message::Binary(ping)),
    ] {
        let mut client = Client::welcomed(&server.public(), codec, "ana").await;
        client.send_raw(message).await;
        let (fatal, closed) = client.end().await;
        let fatal = fatal.expect("it is told why, in the codec that was agreed");
        assert_eq!(fatal.code, ErrorCode::Malformed as u32);
        assert_eq!(closed, Some(1003));
    }
}

#[tokio::test]
async fn thousands_of_small_frames_in_one_message_are_all_answered_and_tens_of_thousands_refused() {
    let server = Program::start(&[]);
    let mut client = server.client("ana").await;
    let ping = client_message(ClientKind::Ping(Ping { t: 0 }));
    let count = 4096;
    client
        .send_raw(Message::Binary(ping.repeat(count).into()))
        .await;
    for _ in 0..count {
        assert!(matches!(client.next().await, ServerKind::Pong(_)));
    }
    let count = 120 * 1024 / ping.len();
    client
        .send_raw(Message::Binary(ping.repeat(count).into()))
        .await;
    let (fatal, close) = client.end().await;
    assert_eq!(fatal.unwrap().code, ErrorCode::UnexpectedFrame as u32);
    assert_eq!(close, Some(PROTOCOL_ERROR));
}

#[tokio::test]
async fn text_that_is_not_even_text_is_malformed() {
    let server = Program::start(&[]);
    let mut client = server.client("ana").await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    client.send_raw(Message::Frame(frame)).await;
    let (fatal, closed) = client.end().await;
    assert_eq!(fatal.unwrap().code, ErrorCode::Malformed as u32);
    assert_eq!(closed, Some(PROTOCOL_ERROR));
}

#[tokio::test]
async fn without_a_hello_the_connection_ends_after_five_seconds() {
    let server = Program::start(&[]);
    let begun = Instant::now();
    let mut client = Client::connect(&server.public(), None).await.unwrap();
    // Pings of the WebSocket layer are no hello.
    client.send_raw(Message::Ping(Bytes::new())).await;
    let (fatal, close) = client.end().await;
    assert_eq!(fatal.unwrap().code, ErrorCode::HelloTimeout as u32);
    assert_eq!(close, Some(POLICY));
    assert!(
        begun.elapsed() >= Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn frames_in_one_message_are_answered_in_order_and_an_empty_message_is_none() {
    let server = Program::start(&[]);
    let mut client = Client::connect(&server.public(), None).await.unwrap();
    client.send_raw(Message::Binary(Bytes::new())).await;
    let pong = ClientKind::Pong(Pong { t: 9 });
    let ping = |t| ClientKind::Ping(Ping { t });
    client
        .send([hello("ana"), ping(1), pong, ping((1 << 53) - 1)])
        .await;
    let ServerKind::Welcome(welcome) = client.next().await else {
        panic!("welcome comes first");
    };
    assert_eq!(welcome.principal, "ana");
    assert_eq!((welcome.session.len(), welcome.author.len()), (16, 16));
    assert_eq!(welcome.heartbeat_ms, 25_000);
    assert_eq!(welcome.expires_ms, 0);
    assert_eq!(welcome.limits.unwrap().frame_up_bytes, 128 * 1024);
    assert_eq!(client.next().await, ServerKind::Pong(Pong { t: 1 }));
    let largest = Pong { t: (1 << 53) - 1 };
    assert_eq!(client.next().await, ServerKind::Pong(largest));
}

#[tokio::test]
async fn a_refresh_in_band_keeps_the_principal() {
    let server = Program::start(&[]);
    let refresh = |token: &str| {
        ClientKind::Refresh(tidewire_core::wire::Refresh {
            token: token.into(),
        })
    };
    let mut ana = server.client("ana").await;
    ana.send([refresh("dev:ana")]).await;
    assert!(matches!(ana.next().await, ServerKind::Refreshed(_)));
    ana.send([refresh("dev:eve")]).await;
    let (fatal, close) = ana.end().await;
    assert_eq!(fatal.unwrap().code, ErrorCode::Unauthenticated as u32);
    assert_eq!(close, Some(POLICY));
}
