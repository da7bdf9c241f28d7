//! What answers requests and is broken, hostile or something else altogether: a typed reason, a new attempt, no panic, and
//! a bound on what is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewire::{Client, Codec, Reason, TransportKind};
use tidewire_e2e::{Board, Broker, Front, Server, quick, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OVER_HTTP: [TransportKind; 2] = [TransportKind::Sse, TransportKind::LongPoll];

/// What a hostile server says to each request.
#[derive(Clone)]
struct Says {
    /// Status line and headers, without the empty line.
    head: String,
    /// Said again and again until the client has had enough; once if it is not `endless`.
    body: Vec<u8>,
    endless: bool,
}

impl Says {
    fn new(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len();
        Self {
            head: format!(
                "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n"
            ),
            body,
            endless: false,
        }
    }

    fn endless(headers: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            head: format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n"),
            body: body.into(),
            endless: true,
        }
    }
}

const STREAM: &str = "content-type: text/event-stream\r\n";

fn typed(codec: Codec) -> String {
    format!("content-type: {}\r\n", codec.media_type())
}

/// A server that says this to whoever asks. Returns its address, and how many bytes it could say to one request at most.
async fn hostile(says: Says) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let most = Arc::new(AtomicU64::new(0));
    let said = Arc::clone(&most);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, says.clone(), Arc::clone(&said)));
        }
    });
    (address, most)
}

async fn answer(mut stream: TcpStream, says: Says, most: Arc<AtomicU64>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let begin = format!("{}\r\n", says.head);
    let mut said = 0;
    let mut goes_on = stream.write_all(begin.as_bytes()).await.is_ok();
    while goes_on {
        goes_on = stream.write_all(&says.body).await.is_ok() && says.endless;
        said += says.body.len() as u64;
        most.fetch_max(said, Ordering::Relaxed);
    }
    // What the client still says is read, or it might not see the answer.
    let mut rest = [0; 4096];
    let _ = stream.shutdown().await;
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

/// The reason that a client gives over this transport, and how much was said to one request. Afterwards, against a good
/// server at the same address, it must come back by itself.
async fn reason_after(kind: TransportKind, codec: Codec, says: Says) -> (Reason, u64) {
    let (address, said) = hostile(says).await;
    let front = Front::before(address).await;
    let client = Client::builder(front.url())
        .token("dev:ana".to_owned())
        .codec(codec)
        .transports([kind])
        .config(quick());
    let board = Board::open(client.build().expect("the url is good"));
    let mut connection = board.client.connection();
    let reason = within(
        "the client says why",
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
    (reason, said.load(Ordering::Relaxed))
}

/// Each of these is no answer of ours, whatever its status: the reason has a code, and a text that says what came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_no_answer_of_ours_has_a_reason_that_says_what_came() {
    let proto = typed(Codec::Protobuf);
    let html = "content-type: text/html\r\n";
    for (what, says, text) in [
        (
            "HTML",
            Says::new("200 OK", html, "<html>sign in"),
            "text/html",
        ),
        ("no type", Says::new("200 OK", "", "x"), "no type"),
        (
            "the other codec",
            Says::new("200 OK", &typed(Codec::Json), "[]"),
            "json",
        ),
        ("204", Says::new("204 No Content", &proto, ""), "204"),
        ("206", Says::new("206 Partial Content", &proto, ""), "206"),
        (
            "404 of somebody",
            Says::new("404 Not Found", html, "<html>nothing"),
            "404",
        ),
        (
            "500 of somebody",
            Says::new("500 Internal Server Error", html, "<html>oops"),
            "500",
        ),
    ] {
        for kind in OVER_HTTP {
            let (reason, _) = reason_after(kind, Codec::Protobuf, says.clone()).await;
            let name = kind.name();
            assert!(
                matches!(reason.code(), "network" | "blocked"),
                "{what} over {name}: {reason:?}"
            );
            assert!(
                reason.detail().contains(text),
                "{what} over {name}: {reason:?}"
            );
        }
    }
}

/// What calls itself an answer of ours, and is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_looks_like_an_answer_of_ours_ends_the_link() {
    let half = b"data: [{\"type\":\"pong\",\"t\":\"\xf0\x9f\n\n";
    for (what, kind, codec, says) in [
        (
            "garbage in an event",
            TransportKind::Sse,
            Codec::Protobuf,
            Says::new("200 OK", STREAM, "data: ////\n\n"),
        ),
        (
            "no base64",
            TransportKind::Sse,
            Codec::Protobuf,
            Says::new("200 OK", STREAM, "data: ?\n\n"),
        ),
        (
            "half a character",
            TransportKind::Sse,
            Codec::Json,
            Says::new("200 OK", STREAM, half.as_slice()),
        ),
        (
            "a stream that says nothing",
            TransportKind::Sse,
            Codec::Protobuf,
            Says::new("200 OK", STREAM, ""),
        ),
        (
            "garbage in a poll",
            TransportKind::LongPoll,
            Codec::Protobuf,
            Says::new("200 OK", &typed(Codec::Protobuf), vec![0xff; 64]),
        ),
        (
            "half a character in a poll",
            TransportKind::LongPoll,
            Codec::Json,
            Says::new(
                "200 OK",
                &typed(Codec::Json),
                b"[{\"type\":\"\xf0\x9f".as_slice(),
            ),
        ),
        (
            "a poll without a welcome",
            TransportKind::LongPoll,
            Codec::Protobuf,
            Says::new("200 OK", &typed(Codec::Protobuf), ""),
        ),
    ] {
        let (reason, _) = reason_after(kind, codec, says).await;
        assert!(
            matches!(
                reason.code(),
                "network" | "malformed" | "unknown_frame" | "heartbeat_timeout"
            ),
            "{what}: {reason:?}"
        );
    }
}

/// What the longest message of ours and its event may take; and what a socket's buffers hold besides, on both sides.
const READ_MAX: u64 = 2 * 1024 * 1024 + 16 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_ends_is_not_read_for_ever() {
    let chunk = vec![b'x'; 64 * 1024];
    let mut chunked = b"10000\r\n".to_vec();
    chunked.extend(&chunk);
    chunked.extend(b"\r\n");
    let body = "transfer-encoding: chunked\r\n";
    let event = [b"10006\r\ndata: ".as_slice(), &chunk, b"\r\n"].concat();
    let comment = [b"10001\r\n:".as_slice(), &chunk, b"\r\n"].concat();
    for (what, kind, says) in [
        (
            "a body",
            TransportKind::LongPoll,
            Says::endless(&format!("{}{body}", typed(Codec::Protobuf)), chunked),
        ),
        (
            "an event of one line",
            TransportKind::Sse,
            Says::endless(&format!("{STREAM}{body}"), event),
        ),
        (
            "a comment",
            TransportKind::Sse,
            Says::endless(&format!("{STREAM}{body}"), comment),
        ),
    ] {
        let (reason, said) = reason_after(kind, Codec::Protobuf, says).await;
        assert_eq!(reason.code(), "network", "{what}: {reason:?}");
        assert!(said <= READ_MAX, "{what}: {said} bytes");
    }
}

/// A token goes where the application said, and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_another_host_is_not_followed_and_no_token_goes_there() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let there = elsewhere.local_addr().expect("it is bound");
    let visits = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&visits);
    tokio::spawn(async move {
        while elsewhere.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        for kind in OVER_HTTP {
            let location = format!("location: http://{there}{}\r\n", "/v1/sse");
            let (reason, _) =
                reason_after(kind, Codec::Protobuf, Says::new(status, &location, "")).await;
            assert!(
                reason.detail().contains(&there.to_string()),
                "{status}: {reason:?}"
            );
        }
    }
    assert_eq!(visits.load(Ordering::Relaxed), 0);
}

/// The good server's stream, a byte at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_comes_byte_by_byte_is_read_as_it_was() {
    use tidewire_chaos_proxy::{ChaosProxy, Conditions, Direction, Slicer};
    let server = Server::start(&Broker::Memory).await;
    let network = ChaosProxy::start(server.address(), 1)
        .await
        .expect("a free port");
    let mut sliced = Conditions::default();
    sliced.slicer = Some(Slicer {
        min_bytes: 1,
        max_bytes: 1,
        pause: Duration::ZERO,
    });
    network
        .set(Direction::Downstream, sliced)
        .expect("there is such a network");
    for kind in OVER_HTTP {
        let client = Client::builder(format!("http://{}", network.address()))
            .token(format!("dev:{}", kind.name()))
            .transports([kind])
            .config(quick());
        let board = Board::open(client.build().expect("the url is good"));
        within("it is read", board.channel.ready())
            .await
            .expect("the board can be read");
        let put = board
            .cards
            .put(kind.name(), serde_json::json!({"title": "through ü😀"}));
        within("it is committed", put.expect("it is taken").committed())
            .await
            .expect("nothing refuses it");
        assert_eq!(board.card(kind.name()).title, "through ü😀");
    }
}
