//! Servers that are broken, hostile or something else altogether: a typed reason, a new attempt, no panic.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tidewire::{ConnectionState, ErrorCode, Reason};
use tidewire_core::wire::{
    Cursor, Known, Limits, Patch, Pong, SUBPROTOCOL_PROTO, ServerKind, SnapshotBegin, SnapshotEnd,
    Welcome, server_message,
};
use tidewire_e2e::{Board, Broker, Front, Server, client, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// The reason that a client gives when the peer answers its `hello` with `messages`. Afterwards, against
/// a good server at the same address, it must come back by itself.
async fn reason_after(messages: Vec<Message>) -> Reason {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let hostile = listener.local_addr().expect("an address");
    let front = Front::before(hostile).await;
    let peer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client comes");
        let mut socket = upgrade(stream).await;
        let _hello = socket.next().await;
        for message in messages {
            // The client may have had enough already.
            let _ = socket.send(message).await;
        }
        while let Some(Ok(_)) = socket.next().await {}
    });

    let board = Board::open(client(&front.url(), "ana"));
    let mut connection = board.client.connection();
    let reason = within(
        "the client says why it left",
        connection.wait_for(|state| state.reason.is_some()),
    )
    .await
    .expect("the client lives")
    .reason
    .clone()
    .expect("a failure has a reason");

    let good = Server::start(&Broker::Memory).await;
    front.lead_to(Some(good.address()));
    within("the client comes back", board.channel.ready())
        .await
        .expect("the good server lets it in");
    peer.abort();
    reason
}

#[expect(
    clippy::result_large_err,
    reason = "the signature of tungstenite's handshake callback"
)]
async fn upgrade(stream: TcpStream) -> WebSocketStream<TcpStream> {
    let agree = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        response.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL_PROTO),
        );
        Ok(response)
    };
    accept_hdr_async(stream, agree)
        .await
        .expect("the client speaks WebSocket")
}

fn binary(bytes: impl Into<Bytes>) -> Message {
    Message::Binary(bytes.into())
}

fn frame(kind: ServerKind) -> Message {
    binary(server_message(kind))
}

fn welcome() -> Message {
    binary(welcome_message())
}

/// A welcome to nowhere.
pub(crate) fn welcome_message() -> Bytes {
    server_message(ServerKind::Welcome(Welcome {
        session: vec![1; 16].into(),
        principal: "ana".into(),
        author: vec![2; 16].into(),
        server_ms: 1,
        expires_ms: 0,
        limits: Some(Limits::DEFAULT),
        heartbeat_ms: 25_000,
        flags: 0,
        ..Welcome::default()
    }))
}

fn assert_violated(reason: &Reason, code: ErrorCode) {
    assert!(
        matches!(reason, Reason::Violated { code: found } if *found == code),
        "{reason:?} is not {code}"
    );
}

#[tokio::test]
async fn garbage_in_place_of_frames_ends_the_link_with_malformed() {
    let garbage: Vec<u8> = (0..=255).rev().collect();
    let reason = reason_after(vec![binary(garbage)]).await;
    assert_violated(&reason, ErrorCode::Malformed);
}

#[tokio::test]
async fn garbage_after_the_welcome_ends_the_link_with_malformed() {
    let reason = reason_after(vec![welcome(), binary(vec![0x0a, 0xff, 0xff])]).await;
    assert_violated(&reason, ErrorCode::Malformed);
}

#[tokio::test]
async fn a_frame_of_the_wrong_direction_is_unknown() {
    use tidewire_core::wire::{ClientKind, Ping, client_message};
    let ping = client_message(ClientKind::Ping(Ping { t: 1 }));
    let reason = reason_after(vec![welcome(), binary(ping)]).await;
    assert_violated(&reason, ErrorCode::UnknownFrame);
}

#[tokio::test]
async fn a_frame_before_the_welcome_is_unexpected() {
    let reason = reason_after(vec![frame(ServerKind::Pong(Pong { t: 1 }))]).await;
    assert_violated(&reason, ErrorCode::UnexpectedFrame);
}

#[tokio::test]
async fn a_snapshot_without_its_cursor_is_unexpected() {
    let begin = SnapshotBegin {
        channel: "board:main".into(),
        cursor: None,
        known: None,
        ..SnapshotBegin::default()
    };
    let reason = reason_after(vec![welcome(), frame(ServerKind::SnapshotBegin(begin))]).await;
    assert_violated(&reason, ErrorCode::UnexpectedFrame);
}

#[tokio::test]
async fn a_patch_that_leads_backwards_is_unexpected() {
    let channel = || "board:main".to_owned();
    let begin = SnapshotBegin {
        channel: channel(),
        cursor: Some(Cursor::new(5, 3, 7)),
        known: Some(Known::default()),
        head: Some(Cursor::new(5, 3, 7)),
        ..SnapshotBegin::default()
    };
    let end = SnapshotEnd {
        channel: channel(),
        records: 0,
        digest: tidewire_core::document::Document::default().digest(),
        cursor: None,
    };
    let patch = Patch {
        channel: channel(),
        epoch: 5,
        from: 3,
        from_tag: 7,
        to: 2,
        ..Patch::default()
    };
    let reason = reason_after(vec![
        welcome(),
        frame(ServerKind::SnapshotBegin(begin)),
        frame(ServerKind::SnapshotEnd(end)),
        frame(ServerKind::Patch(patch)),
    ])
    .await;
    assert_violated(&reason, ErrorCode::UnexpectedFrame);
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_link_whatever_its_size() {
    let limit = Limits::DEFAULT.frame_down_bytes as usize;
    let reason = reason_after(vec![welcome(), binary(vec![0; limit + 1])]).await;
    assert_violated(&reason, ErrorCode::FrameTooLarge);

    let reason = reason_after(vec![welcome(), binary(vec![0; 8 * limit])]).await;
    assert!(
        matches!(&reason, Reason::Network { detail } if detail.contains("too long")),
        "{reason:?}"
    );
}

#[tokio::test]
async fn text_on_the_binary_subprotocol_ends_the_link() {
    let reason = reason_after(vec![welcome(), Message::text("[]")]).await;
    assert!(
        matches!(&reason, Reason::Network { detail } if detail.contains("was agreed")),
        "{reason:?}"
    );
}

#[tokio::test]
async fn a_flood_of_pings_does_no_harm() {
    let mut messages = vec![Message::Ping(Bytes::from_static(b"?")); 5000];
    messages.push(binary(vec![0xff]));
    let reason = reason_after(messages).await;
    assert_violated(&reason, ErrorCode::Malformed);
}

/// What a client makes of a peer that answers the upgrade with these bytes.
async fn state_after_http(answer: &'static str) -> ConnectionState {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let peer = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let board = Board::open(client(&format!("http://{address}"), "ana"));
    let mut connection = board.client.connection();
    let state = within(
        "the client says why it left",
        connection.wait_for(|state| state.reason.is_some()),
    )
    .await
    .expect("the client lives")
    .clone();
    peer.abort();
    state
}

#[tokio::test]
async fn a_server_that_is_no_tidewire_server_is_named_as_such() {
    for (answer, part) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "200"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
            "302",
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n", "protocol"),
        ("", "andshake"),
    ] {
        let state = state_after_http(answer).await;
        let reason = state.reason.expect("a failure has a reason");
        assert!(
            matches!(&reason, Reason::Network { detail } if detail.contains(part)),
            "{answer:?}: {reason:?}"
        );
        assert!(reason.is_retryable());
    }
}

#[tokio::test]
async fn retry_after_of_a_refused_handshake_is_obeyed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let board = Board::open(client(&format!("http://{address}"), "ana"));
    let come = async || {
        let (mut stream, _) = listener.accept().await.expect("the client comes");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
        // Before the answer: what comes of it is never earlier.
        let answered = tokio::time::Instant::now();
        let _ = stream.write_all(answer.as_bytes()).await;
        answered
    };
    let first = within("the first attempt", come()).await;
    let second = within("the second attempt", come()).await;
    // Alone, its back-off would have let it come within 200 ms.
    assert!(
        second - first >= Duration::from_millis(950),
        "{:?}",
        second - first
    );
    let state = board.client.connection().borrow().clone();
    let reason = state.reason.expect("a failure has a reason");
    assert!(reason.detail().contains("503"), "{reason:?}");
}

#[tokio::test]
async fn nobody_listening_is_a_network_reason() {
    let front = Front::open().await;
    let board = Board::open(client(&front.url(), "ana"));
    let mut connection = board.client.connection();
    let state = within(
        "the client says why it left",
        connection.wait_for(|state| state.reason.is_some()),
    )
    .await
    .expect("the client lives")
    .clone();
    assert!(
        matches!(state.reason, Some(Reason::Network { .. })),
        "{state:?}"
    );
    within("closing needs no server", board.client.close()).await;
    let error = within("ready ends", board.channel.ready())
        .await
        .expect_err("the client is closed");
    assert_eq!(error.code(), "closed");
}
