//! Streams, polls and POSTs that somebody else answers: a typed reason, a new attempt once the server answers again, no
//! panic, nothing kept without a bound. docs/protocol/http.md has the same as a table.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use serde_json::json;
use tidewire::{Client, Codec, TransportKind};
use tidewire_chaos_proxy::{ChaosProxy, Conditions, Direction};
use tidewire_core::wire::{Limits, Pong, ServerKind, server_message};
use tidewire_e2e::{Answer, Board, Impostor, Wrong, quick, within};
use tidewire_server::TestServer;
use tokio::net::TcpListener;

use crate::hostile::welcome_message;

/// So many clients at a time.
const AT_A_TIME: usize = 16;

const STREAM: &str = "POST /v1/sse";
const POLL: &str = "POST /v1/poll";
const PUSH: &str = "POST /v1/push";
const UPGRADE: &str = "GET /v1/ws";

/// The doors, and a transport that goes through each.
const DOORS: [(&str, TransportKind); 4] = [
    (STREAM, TransportKind::Sse),
    (POLL, TransportKind::LongPoll),
    (PUSH, TransportKind::Sse),
    (PUSH, TransportKind::LongPoll),
];

const PROTO: &str = "application/vnd.tidewire.v1+proto";
const EVENTS: &str = "text/event-stream";

/// A wrong answer, and what a client says of it.
struct Case {
    name: String,
    over: TransportKind,
    codec: Codec,
    wrong: Wrong,
    code: &'static str,
    /// A part of what people read.
    says: String,
}

impl Case {
    fn new(
        (door, over): (&'static str, TransportKind),
        name: &str,
        answer: Answer,
        (code, says): (&'static str, &str),
    ) -> Self {
        Self {
            name: format!("{name}, {door} over {}", over.name()),
            over,
            codec: Codec::Protobuf,
            wrong: Wrong {
                door,
                after: 0,
                answer,
            },
            code,
            says: says.into(),
        }
    }

    fn json(mut self) -> Self {
        self.codec = Codec::Json;
        self
    }

    fn after(mut self, after: usize) -> Self {
        self.wrong.after = after;
        self
    }

    /// Meets it, until the client has said why and is back at the good server.
    async fn meet(self, good: &str) -> Result<Impostor, String> {
        let impostor = Impostor::before(good, self.wrong).await;
        let board = Board::open(client(&impostor.url(), self.over, self.codec));
        let mut connection = board.client.connection();
        let told = connection.wait_for(|state| state.reason.is_some());
        let state = within(&self.name, told)
            .await
            .expect("the client lives")
            .clone();
        let reason = state.reason.expect("it was waited for");
        impostor.behave();
        within(&self.name, board.channel.ready())
            .await
            .map_err(|error| format!("{}: not back: {error}", self.name))?;
        let put = board.cards.put(
            &self.name.replace([' ', '/', ','], "-"),
            json!({"title": "x"}),
        );
        within(&self.name, put.expect("it is taken").committed())
            .await
            .map_err(|error| format!("{}: not back: {error}", self.name))?;
        let (code, detail) = (reason.code(), reason.detail());
        match code == self.code && detail.contains(&self.says) && reason.is_retryable() {
            true => Ok(impostor),
            false => Err(format!("{}: {code}: {detail}", self.name)),
        }
    }
}

fn client(url: &str, over: TransportKind, codec: Codec) -> Client {
    let mut config = quick();
    // What is answered at a crawl is given up sooner than usual.
    config.connect_timeout = Duration::from_secs(3);
    let client = Client::builder(url)
        .token("dev:ana")
        .transports([over])
        .codec(codec)
        .config(config);
    client.build().expect("the url is good")
}

/// Meets them all, some at a time.
async fn meet_all(cases: Vec<Case>) -> Vec<Impostor> {
    let good = TestServer::start().await;
    let url = good.url();
    let met = futures_util::stream::iter(cases).map(|case| case.meet(&url));
    let met: Vec<_> = met.buffer_unordered(AT_A_TIME).collect().await;
    let (met, wrong): (Vec<_>, Vec<_>) = met.into_iter().partition(Result::is_ok);
    let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    met.into_iter().filter_map(Result::ok).collect()
}

fn head(status: &str, kind: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}\r\n").into()
}

fn answer(status: &str, kind: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut bytes = head(status, kind, &format!("content-length: {}\r\n", body.len()));
    bytes.extend_from_slice(body);
    Answer::Whole(bytes)
}

/// A stream of these bytes, which ends with the connection.
fn events(bytes: impl AsRef<[u8]>) -> Answer {
    let mut stream = head("200 OK", EVENTS, "connection: close\r\n");
    stream.extend_from_slice(bytes.as_ref());
    Answer::Whole(stream)
}

/// An event with this message.
fn event(message: &[u8]) -> Vec<u8> {
    format!("data: {}\n\n", STANDARD.encode(message)).into()
}

/// What no server of ours answers at any door.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_in_the_servers_place_is_told_as_the_network() {
    let page = "<!doctype html><title>Sign in</title>";
    let mut cases = Vec::new();
    for door in DOORS {
        let mut case = |name: &str, answer, says: &str| {
            cases.push(Case::new(door, name, answer, ("network", says)));
        };
        let place = "something else answers in the server's place, with ";
        case("a page", answer("200 OK", "text/html", page), "text/html");
        case(
            "another type",
            answer("200 OK", "application/json", "{}"),
            place,
        );
        case(
            "the other codec",
            answer("200 OK", Codec::Json.media_type(), "[]"),
            place,
        );
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        case("no type", Answer::Whole(plain.into()), "no type");
        for status in [
            "204 No Content",
            "206 Partial Content",
            "301 Moved Permanently",
            "304 Not Modified",
            "400 Bad Request",
            "401 Unauthorized",
            "403 Forbidden",
            "404 Not Found",
            "407 Proxy Authentication Required",
            "410 Gone",
            "413 Content Too Large",
            "500 Internal Server Error",
            "502 Bad Gateway",
            "503 Service Unavailable",
            "599 What",
        ] {
            let body = match status {
                "204 No Content" | "304 Not Modified" => "",
                _ => page,
            };
            let (number, _) = status.split_once(' ').expect("number and words");
            let says = format!("HTTP {number}");
            case(status, answer(status, "text/html", body), &says);
        }
        case(
            "half of a body",
            {
                let mut half = head("200 OK", PROTO, "content-length: 100\r\n");
                half.extend_from_slice(b"half");
                Answer::Whole(half)
            },
            "",
        );
        case(
            "no HTTP",
            Answer::Whole(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
            "",
        );
        case("nothing", Answer::Whole(Vec::new()), "");
    }
    assert_eq!(cases.len(), 4 * 22);
    meet_all(cases).await;
}

/// What a stream may bring that is no event of ours, and what an event may hold that is no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_one_of_ours_is_left_with_its_reason() {
    let stream =
        |name: &str, answer, told| Case::new((STREAM, TransportKind::Sse), name, answer, told);
    let greeted = |name: &str, more: Vec<u8>, told| {
        let welcomed = [event(&welcome_message()), more].concat();
        // No other door may tell the client that this is nobody's welcome.
        let all = ("POST /v1/", TransportKind::Sse);
        Case::new(all, name, events(welcomed), told)
    };
    let ended = ("network", "the stream ended");
    let malformed = ("malformed", "");
    let too_long = vec![0; Limits::DEFAULT.frame_down_bytes as usize + 1];
    meet_all(vec![
        stream(
            "a page of events",
            events("<!doctype html>\n<title>Sign in</title>\n\n"),
            ended,
        ),
        stream("no event", events(""), ended),
        stream("half of an event", events("data: AAAA"), ended),
        greeted("half of an event later", b"data: AAAA".to_vec(), ended),
        stream("no base64", events("data: <html>\n\n"), malformed),
        stream("no message", events(event(&[0xff; 20])), malformed),
        greeted("no message later", event(&[0x0a, 0xff, 0xff]), malformed),
        greeted(
            "a message over the limit",
            event(&too_long),
            ("frame_too_large", ""),
        ),
        stream(
            "a frame before the welcome",
            events(event(&server_message(ServerKind::Pong(Pong { t: 1 })))),
            ("unexpected_frame", ""),
        ),
        stream(
            "half of a character",
            events(b"data: [{\"t\":\"\xc5\n\n"),
            ended,
        )
        .json(),
        stream("no JSON", events("data: <html>\n\n"), malformed).json(),
        stream(
            "JSON of something else",
            events("data: {\"a\":1}\n\n"),
            malformed,
        )
        .json(),
        // It never ends, and never says anything.
        stream(
            "comments alone",
            Answer::Endless(
                head("200 OK", EVENTS, ""),
                b":\n\n".to_vec(),
                Duration::from_millis(50),
            ),
            ("heartbeat_timeout", ""),
        ),
        stream(
            "silence",
            Answer::Stalls(head("200 OK", EVENTS, "")),
            ("heartbeat_timeout", ""),
        ),
    ])
    .await;
}

/// What is answered to a poll, with the right status and type, and is no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_whose_answer_is_no_message_is_left_with_its_reason() {
    let json = Codec::Json.media_type();
    let poll =
        |name: &str, answer, told| Case::new((POLL, TransportKind::LongPoll), name, answer, told);
    let good = |body: &[u8]| answer("200 OK", PROTO, body);
    let text = |body: &[u8]| answer("200 OK", json, body);
    let malformed = ("malformed", "");
    let too_long = vec![0; Limits::DEFAULT.frame_down_bytes as usize + 1];
    let chunk = b"1\r\n\n\r\n".to_vec();
    let crawls = head("200 OK", PROTO, "transfer-encoding: chunked\r\n");
    meet_all(vec![
        poll("no message", good(&[0xff; 20]), malformed),
        poll("no message later", good(&[0xff; 20]), malformed).after(2),
        poll(
            "a page later",
            answer("200 OK", "text/html", "<html>"),
            ("network", "text/html"),
        )
        .after(2),
        poll("nothing at first", good(b""), ("network", "says nothing")),
        poll("too long", good(&too_long), ("network", "too large")),
        poll("half of a character", text(b"[{\"t\":\"\xc5"), malformed).json(),
        poll(
            "half of a character later",
            text(b"[{\"t\":\"\xc5"),
            malformed,
        )
        .json()
        .after(2),
        poll("no JSON", text(b"<html>"), malformed).json(),
        poll("JSON of something else", text(b"{\"a\":1}"), malformed).json(),
        poll(
            "a crawl",
            Answer::Endless(crawls, chunk, Duration::from_millis(50)),
            ("heartbeat_timeout", ""),
        ),
        poll(
            "silence",
            Answer::Stalls(Vec::new()),
            ("heartbeat_timeout", ""),
        ),
    ])
    .await;
}

/// What a POST is answered, with the right status and type, and is no message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_answer_is_no_message_ends_the_link_with_its_reason() {
    let json = Codec::Json.media_type();
    let mut cases = Vec::new();
    for door in [DOORS[2], DOORS[3]] {
        let case = |name: &str, answer| Case::new(door, name, answer, ("malformed", ""));
        cases.push(case("no message", answer("200 OK", PROTO, [0xff; 20])));
        cases.push(
            case(
                "half of a character",
                answer("200 OK", json, b"[{\"t\":\"\xc5"),
            )
            .json(),
        );
        cases.push(case("no JSON", answer("200 OK", json, "<html>")).json());
    }
    meet_all(cases).await;
}

/// What the kernels of both ends may hold of a connection, generously; what is taken beyond somebody has kept.
const ON_ITS_WAY: u64 = 48 << 20;

/// Bodies, heads, comments, lines and events without an end, each of which would fill a memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_is_left_before_it_fills_the_memory() {
    let much = vec![b'A'; 64 << 10];
    let lines = |line: &[u8]| line.repeat((64 << 10) / line.len());
    let chunked = "transfer-encoding: chunked\r\n";
    let chunk = [b"10000\r\n", &much[..], b"\r\n"].concat();
    let pause = Duration::from_millis(1);
    let mut cases = Vec::new();
    for door in DOORS {
        let mut case = |name: &str, first: Vec<u8>, again: Vec<u8>, says| {
            let answer = Answer::Endless(first, again, pause);
            cases.push(Case::new(door, name, answer, ("network", says)));
        };
        case(
            "a body",
            head("200 OK", PROTO, chunked),
            chunk.clone(),
            "too large",
        );
        case(
            "a page",
            head("200 OK", "text/html", ""),
            much.clone(),
            "too large",
        );
        case(
            "a refusal",
            head("500 No", "text/html", chunked),
            chunk.clone(),
            "too large",
        );
        let long = format!("content-length: {}\r\n", 10 << 20);
        case(
            "a body of 10 MiB",
            head("200 OK", PROTO, &long),
            much.clone(),
            "too large",
        );
    }
    for door in DOORS
        .into_iter()
        .chain([(UPGRADE, TransportKind::WebSocket)])
    {
        for (name, first, again) in [
            ("a head", "", lines(b"x-more: and more\r\n")),
            ("a line of a head", "x-more: ", much.clone()),
        ] {
            let first = format!("HTTP/1.1 200 OK\r\n{first}");
            let answer = Answer::Endless(first.into(), again, pause);
            cases.push(Case::new(door, name, answer, ("network", "")));
        }
    }
    let stream = |begin: &str| [head("200 OK", EVENTS, ""), begin.into()].concat();
    for (name, begin, again) in [
        ("a line of an event", "data: ", much.clone()),
        ("lines of an event", "", lines(b"data: AAAA\n")),
        (
            "lines of an event with comments between",
            "",
            [lines(b"data: AAAA\n"), b":\n".to_vec()].concat(),
        ),
        ("empty lines of an event", "", lines(b"data\n")),
        ("a comment", ":", much.clone()),
        ("a name", "", much.clone()),
        ("a type", "event: ", much.clone()),
        ("fields that nobody knows", "", lines(b"unknown: AAAA\n")),
    ] {
        let answer = Answer::Endless(stream(begin), again, pause);
        cases.push(Case::new(
            (STREAM, TransportKind::Sse),
            name,
            answer,
            ("network", "too large"),
        ));
    }
    let met = meet_all(cases).await;
    let most = met.iter().map(Impostor::taken).max();
    println!("at most {most:?} bytes were taken");
    assert!(most < Some(ON_ITS_WAY), "{most:?}");
}

/// Whoever a redirect leads to is asked for nothing, so that no token gets there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_another_host_is_told_and_that_host_hears_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = other.local_addr().expect("it is bound").port();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while other.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut cases = Vec::new();
    for door in DOORS
        .into_iter()
        .chain([(UPGRADE, TransportKind::WebSocket)])
    {
        let path = door.0.split(' ').nth(1).expect("a path");
        for status in [301, 302, 303, 307, 308] {
            for to in [
                format!("http://localhost:{port}{path}"),
                format!("https://localhost:{port}{path}"),
                format!("//localhost:{port}{path}"),
                format!("http://127.0.0.1:{port}/login"),
            ] {
                let answer = format!(
                    "HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
                );
                let name = format!("{status} to {}", to.split(':').next().unwrap_or_default());
                let answer = Answer::Whole(answer.into());
                cases.push(Case::new(
                    door,
                    &name,
                    answer,
                    ("network", "which leads to "),
                ));
            }
        }
    }
    meet_all(cases).await;
    assert_eq!(came.load(Ordering::Relaxed), 0);
}

/// What a POST said whose answer never ends is not lost: it is said again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_post_said_whose_answer_never_ends_is_said_again() {
    let good = TestServer::start().await;
    let crawls = Answer::Endless(
        head("200 OK", PROTO, "transfer-encoding: chunked\r\n"),
        b"1\r\n\n\r\n".to_vec(),
        Duration::from_millis(200),
    );
    let wrong = Wrong {
        door: PUSH,
        // The subscribe passes.
        after: 1,
        answer: crawls,
    };
    let impostor = Impostor::before(&good.url(), wrong).await;
    let board = Board::open(client(&impostor.url(), TransportKind::Sse, Codec::Protobuf));
    within("its view", board.channel.ready())
        .await
        .expect("it is readable");
    let put = board.cards.put("a", json!({"title": "x"}));
    let put = put.expect("it is taken");
    let mut connection = board.client.connection();
    let told = connection.wait_for(|state| state.reason.is_some());
    let told = within("it is given up", told)
        .await
        .expect("it lives")
        .clone();
    let reason = told.reason.expect("it was waited for");
    assert_eq!(reason.code(), "heartbeat_timeout", "{reason:?}");
    impostor.behave();
    within("it is committed", put.committed())
        .await
        .expect("nothing refuses it");
    assert_eq!(board.card("a").title, "x");
}

/// Whatever cuts them: events, answers and characters are whole again at their end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_cut_behind_every_byte_are_read_as_if_whole() {
    const TITLE: &str = "Zażółć gęślą jaźń: 事件 🎉";
    let good = TestServer::start().await;
    let address = good.url().rsplit('/').next().and_then(|it| it.parse().ok());
    let network = ChaosProxy::start(address.expect("an address"), 1)
        .await
        .expect("a free port");
    let bytes = Conditions::default().slicer(1, 1, Duration::ZERO);
    for direction in [Direction::Upstream, Direction::Downstream] {
        let is_one = network.set(direction, bytes.clone());
        is_one.expect("there is such a network");
    }
    let url = format!("http://{}", network.address());
    let mut written = 0;
    for over in [
        TransportKind::Sse,
        TransportKind::LongPoll,
        TransportKind::WebSocket,
    ] {
        for codec in [Codec::Protobuf, Codec::Json] {
            let board = Board::open(client(&url, over, codec));
            within("its view", board.channel.ready())
                .await
                .expect("it is readable");
            let id = format!("{}-{codec:?}", over.name());
            let put = board.cards.put(&id, json!({"title": TITLE}));
            within("a change", put.expect("it is taken").committed())
                .await
                .expect("nothing refuses it");
            written += 1;
            let titles = board
                .cards
                .ids()
                .iter()
                .map(|id| board.card(id).title)
                .collect::<Vec<_>>();
            assert_eq!(titles, vec![TITLE; written]);
            let state = board.client.connection().borrow().clone();
            assert_eq!((state.transport, state.reason), (Some(over), None));
        }
    }
}
