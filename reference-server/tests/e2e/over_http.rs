//! Sessions over HTTP, as a client sees them.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tidewire_core::wire::{
    ClientKind, Codec, ErrorCode, Ping, Pong, PresenceSet, ServerKind, Unsubscribe,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Asker, JSON, PROTO, Polls, Session, fatal};
use crate::support::{
    Client, DEADLINE, Program, card, exchange, hello, http, push, put, subscribe, until,
};

const CODECS: [Codec; 2] = [Codec::Protobuf, Codec::Json];

/// Each way over HTTP: codec, and whether over HTTP/2.
async fn askers(server: &Program, name: &str) -> Vec<Asker> {
    let mut askers = Vec::new();
    for codec in CODECS {
        let asker = Asker::new(&server.public(), codec, name);
        askers.push(asker.clone());
        askers.push(asker.two().await);
    }
    askers
}

fn is_ack(frames: &[ServerKind], through: u64) -> bool {
    matches!(frames, [ServerKind::Ack(ack)] if ack.through == through)
}

fn cursor_of(frame: ServerKind) -> Option<u64> {
    match frame {
        ServerKind::SnapshotEnd(_) => Some(0),
        ServerKind::SnapshotBegin(begin) => Some(begin.cursor.unwrap().epoch),
        _ => None,
    }
}

#[tokio::test]
async fn a_session_reads_a_stream_and_posts_what_it_has_to_say() {
    let server = Program::start(&[]);
    for (round, asker) in askers(&server, "ana").await.into_iter().enumerate() {
        let room = format!("board:{round}");
        let Session { mut events, asker } = asker.welcomed(&[subscribe(&room, None)]).await;
        // Before anything was known, a comment showed that nothing holds the stream back.
        assert!(events.comments[0].len() > 2000);
        let epoch = events.find(cursor_of).await;
        let item = put(card("c1", "first"));
        let acked = asker
            .post(&[push(&room, epoch, 1, vec![item.clone()])])
            .await;
        assert!(is_ack(&acked, 1), "{acked:?}");
        let patch = events
            .find(|frame| match frame {
                ServerKind::Patch(patch) => Some(patch),
                _ => None,
            })
            .await;
        assert_eq!((patch.mids.len(), patch.mids[0].n), (1, 1));
        // A copy of the POST changes nothing, and is answered as the first one.
        let again = asker.post(&[push(&room, epoch, 1, vec![item])]).await;
        assert!(is_ack(&again, 1), "{again:?}");
        // What is no push is for the session, whose stream has the answer.
        let nothing = asker.post(&[ClientKind::Ping(Ping { t: 7 })]).await;
        assert_eq!(nothing, []);
        let pong = events.next().await;
        assert_eq!(pong, ServerKind::Pong(Pong { t: 7 }));
        // Both in one body.
        let both = [
            push(&room, epoch, 2, vec![put(card("c2", "second"))]),
            ClientKind::Ping(Ping { t: 8 }),
        ];
        assert!(is_ack(&asker.post(&both).await, 2));
        let is_pong = |frame| (frame == ServerKind::Pong(Pong { t: 8 })).then_some(());
        events.find(is_pong).await;
    }
}

#[tokio::test]
async fn all_transports_see_one_board() {
    let server = Program::start(&[]);
    let room = "board:all";
    let mut socket = server.client("ana").await;
    socket.send([subscribe(room, None)]).await;
    let epoch = socket.snapshot(room).await.cursor.epoch;
    let bob = Asker::new(&server.public(), Codec::Json, "bob");
    let mut stream = bob.welcomed(&[subscribe(room, None)]).await;
    stream.events.find(cursor_of).await;
    let cleo = Asker::new(&server.public(), Codec::Protobuf, "cleo");
    let mut polls = Polls::open(&cleo, &[subscribe(room, None)]).await;
    polls.find(cursor_of).await;
    socket
        .send([push(room, epoch, 1, vec![put(card("a", "ana"))])])
        .await;
    stream
        .asker
        .post(&[push(room, epoch, 1, vec![put(card("b", "bob"))])])
        .await;
    polls
        .asker
        .post(&[push(room, epoch, 1, vec![put(card("c", "cleo"))])])
        .await;
    let upto = |frame| match frame {
        ServerKind::Patch(patch) if patch.to >= 4 => Some(patch.to_tag),
        _ => None,
    };
    let tags = [
        socket.find(upto).await,
        stream.events.find(upto).await,
        polls.find(upto).await,
    ];
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    let (_, metrics) = http(&server.admin(), "GET", "/metrics", "").await;
    for transport in ["websocket", "sse", "long-poll"] {
        let line = format!("tidewire_transport_connections{{transport=\"{transport}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(metrics.contains("tidewire_connections 3"), "{metrics}");
    assert!(
        metrics.contains("tidewire_http_answers_total{door=\"push\",status=\"200\"} 2"),
        "{metrics}"
    );
    let (_, routing) = http(&server.admin(), "GET", "/health/routing", "").await;
    assert!(
        routing.contains("\"transports\":{\"websocket\":1,\"sse\":1,\"long-poll\":1}"),
        "{routing}"
    );
}

#[tokio::test]
async fn polls_carry_the_same_frames_one_message_at_a_time() {
    let server = Program::start(&[]);
    for (round, asker) in askers(&server, "ana").await.into_iter().enumerate() {
        let room = format!("board:{round}");
        let mut polls = Polls::open(&asker, &[]).await;
        polls.number += 1;
        let number = polls.number;
        let said = [subscribe(&room, None)];
        let (status, frames) = polls
            .asker
            .ask("/v1/poll", |hello| hello.poll = number, &said)
            .await;
        assert_eq!(status, 200);
        let epoch = frames.into_iter().find_map(cursor_of).expect("a snapshot");
        // A poll that is held ends with the first message.
        let asker = polls.asker.clone();
        let (held, acked) = tokio::join!(polls.poll(&[]), async {
            asker
                .post(&[push(&room, epoch, 1, vec![put(card("c1", "x"))])])
                .await
        });
        assert!(is_ack(&acked, 1));
        assert_eq!(held.0, 200);
        // Whatever came before it, the patch comes.
        if !held
            .1
            .iter()
            .any(|frame| matches!(frame, ServerKind::Patch(_)))
        {
            polls
                .find(|frame| matches!(frame, ServerKind::Patch(_)).then_some(()))
                .await;
        }
    }
}

#[tokio::test]
async fn each_poll_number_is_answered_once() {
    let server = Program::start(&[]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let mut polls = Polls::open(&asker, &[]).await;
    let poll = |number: u32| {
        let asker = polls.asker.clone();
        async move {
            asker
                .ask("/v1/poll", |hello| hello.poll = number, &[])
                .await
        }
    };
    for wrong in [3, 4, u32::MAX] {
        let (status, frames) = poll(wrong).await;
        assert_eq!(status, 409);
        assert_eq!(fatal(&frames).code, ErrorCode::UnexpectedFrame as u32);
    }
    // The next one ends the one that is held; which request comes first is decided here, not by chance.
    let second = tokio::spawn(poll(2));
    let third = until("poll 3 is the next one", async || {
        let asker = polls.asker.clone();
        let headers = [("content-type", PROTO), ("prefer", "wait=0")];
        let mut hello = asker.hello.clone();
        hello.poll = 3;
        let body = asker.body(hello, &[]);
        let answer = asker
            .request(Method::POST, "/v1/poll", &headers, body)
            .await;
        let (status, _, frames) = asker.whole(answer).await;
        (status == 200).then_some(frames)
    })
    .await;
    assert_eq!(second.await.unwrap(), (200, vec![]));
    assert_eq!(third, []);
    for copied in [2, 3] {
        assert_eq!(poll(copied).await.0, 409);
    }
    polls.number = 3;
    let (status, frames) = polls.poll(&[ClientKind::Ping(Ping { t: 1 })]).await;
    assert_eq!(
        (status, frames),
        (200, vec![ServerKind::Pong(Pong { t: 1 })])
    );
}

/// A connection on which a poll is held, and its number.
pub(crate) async fn held(asker: &Asker, address: &str) -> (TcpStream, u32) {
    let mut number = 1;
    // Two of each number: the one that is refused came later, so the other one is held.
    until("a poll is held", async || {
        number += 1;
        let mut hello = asker.hello.clone();
        hello.poll = number;
        let body = asker.body(hello, &[]);
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v1/poll HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTO}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&body).await.unwrap();
        let headers = [("content-type", PROTO), ("prefer", "wait=0")];
        let twin = asker.request(Method::POST, "/v1/poll", &headers, body);
        (twin.await.status() == 409).then_some((socket, number))
    })
    .await
}

/// Waits until a session is not there any more.
pub(crate) async fn is_gone(asker: &Asker) {
    until("its session is gone", async || {
        let (status, frames) = asker.ask("/v1/push", |_| {}, &[]).await;
        (status == 410 && fatal(&frames).code == ErrorCode::Moved as u32).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_a_poll_has_ended_its_session() {
    let server = Program::start(&[]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let polls = Polls::open(&asker, &[]).await;
    drop(held(&polls.asker, &server.public()).await);
    is_gone(&polls.asker).await;
    // It opens another one.
    Polls::open(&asker, &[]).await;
}

#[tokio::test]
async fn a_stream_that_is_hung_up_is_noticed_and_its_peer_leaves_cleanly_if_it_said_so() {
    let server = Program::start(&["--presence-grace-ms", "3600000"]);
    let room = "board:peers";
    let mut watcher = server.client("wim").await;
    watcher.subscribe(room).await;
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let ana = asker.welcomed(&[subscribe(room, None)]).await;
    let set = ClientKind::PresenceSet(PresenceSet {
        channel: room.into(),
        data: Some("1".into()),
    });
    assert_eq!(ana.asker.post(&[set]).await, []);
    let peers = |wanted: usize| {
        move |frame| match frame {
            ServerKind::Presence(presence) => {
                let here = presence.peers.iter().filter(|peer| peer.data.is_some());
                (here.count() == wanted).then_some(())
            }
            _ => None,
        }
    };
    watcher.find(peers(1)).await;
    let gone = ClientKind::Unsubscribe(Unsubscribe {
        channel: room.into(),
    });
    assert_eq!(ana.asker.post(&[gone]).await, []);
    watcher.find(peers(0)).await;
    let asker = ana.asker.clone();
    drop(ana);
    until("the session is gone", async || {
        let (status, _) = asker.ask("/v1/push", |_| {}, &[]).await;
        (status == 410).then_some(())
    })
    .await;
    until("the stream is counted no more", async || {
        let (_, metrics) = http(&server.admin(), "GET", "/metrics", "").await;
        metrics
            .contains("tidewire_transport_connections{transport=\"sse\"} 0")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_said_before_a_stream_or_a_poll_is_hung_up_still_counts() {
    let server = Program::start(&["--presence-grace-ms", "3600000"]);
    let room = "board:leaving";
    let mut watcher = server.client("wim").await;
    watcher.subscribe(room).await;
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let set = ClientKind::PresenceSet(PresenceSet {
        channel: room.into(),
        data: Some("1".into()),
    });
    let gone = ClientKind::Unsubscribe(Unsubscribe {
        channel: room.into(),
    });
    let peers = |wanted: usize| {
        move |frame| match frame {
            ServerKind::Presence(presence) => {
                let here = presence.peers.iter().filter(|peer| peer.data.is_some());
                (here.count() == wanted).then_some(())
            }
            _ => None,
        }
    };
    for _ in 0..16 {
        let stream = asker.welcomed(&[subscribe(room, None)]).await;
        stream.asker.post(std::slice::from_ref(&set)).await;
        watcher.find(peers(1)).await;
        stream.asker.post(std::slice::from_ref(&gone)).await;
        drop(stream);
        watcher.find(peers(0)).await;

        let mut polls = Polls::open(&asker, &[subscribe(room, None)]).await;
        let poster = polls.asker.clone();
        let held = tokio::spawn(async move {
            loop {
                polls.next().await;
            }
        });
        poster.post(std::slice::from_ref(&set)).await;
        watcher.find(peers(1)).await;
        poster.post(std::slice::from_ref(&gone)).await;
        held.abort();
        watcher.find(peers(0)).await;
    }
}

#[tokio::test]
async fn what_the_token_decides_is_said_in_the_stream_and_as_a_status_elsewhere() {
    let server = Program::start(&[]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let mut stranger = asker.clone();
    stranger.hello.token = "nobody".into();
    let mut events = stranger.stream(&[]).await;
    let error = fatal(&[events.next().await]);
    assert_eq!(error.code, ErrorCode::Unauthenticated as u32);
    assert_eq!(
        events.try_next().await.unwrap(),
        None,
        "it ends as it should"
    );
    let (status, frames) = stranger.ask("/v1/poll", |hello| hello.poll = 1, &[]).await;
    assert_eq!(status, 401);
    assert_eq!(fatal(&frames).code, ErrorCode::Unauthenticated as u32);
    let (status, frames) = stranger.ask("/v1/push", |_| {}, &[]).await;
    assert_eq!((status, fatal(&frames).code), (401, error.code));
    // Somebody else's store.
    let wrong =
        |hello: &mut tidewire_core::wire::Hello| hello.expect_author = Bytes::from_static(&[1; 16]);
    let code = ErrorCode::WrongPrincipal as u32;
    let answer = asker.say("/v1/sse", wrong, &[]).await;
    assert_eq!(answer.status(), 200);
    let poll = |hello: &mut _| {
        wrong(hello);
        hello.poll = 1;
    };
    let (status, frames) = asker.ask("/v1/poll", poll, &[]).await;
    assert_eq!((status, fatal(&frames).code), (403, code));
    let pushed = [push("board:x", 0, 1, vec![put(card("a", "b"))])];
    let (status, frames) = asker.ask("/v1/push", wrong, &pushed).await;
    assert_eq!((status, fatal(&frames).code), (403, code));
}

#[tokio::test]
async fn a_session_is_its_principals_alone() {
    let server = Program::start(&[]);
    let ana = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let mut polls = Polls::open(&ana, &[]).await;
    let mut thief = polls.asker.clone();
    thief.hello.token = "dev:eve".into();
    thief.hello.expect_author = Bytes::new();
    for (path, poll) in [("/v1/poll", 2), ("/v1/push", 0)] {
        let stolen = thief.ask(
            path,
            |hello| hello.poll = poll,
            &[ClientKind::Ping(Ping { t: 1 })],
        );
        let (status, frames) = stolen.await;
        assert_eq!(
            (status, fatal(&frames).code),
            (403, ErrorCode::WrongPrincipal as u32)
        );
    }
    // Nobody's, and another node's that is not there.
    for (at, byte) in [(19, 1), (0, 1)] {
        let mut handle = polls.asker.hello.session.to_vec();
        handle[at] ^= byte;
        let guessed = |hello: &mut tidewire_core::wire::Hello| {
            hello.session = handle.into();
            hello.poll = 2;
        };
        let (status, frames) = ana.ask("/v1/poll", guessed, &[]).await;
        assert_eq!(
            (status, fatal(&frames).code),
            (410, ErrorCode::Moved as u32)
        );
    }
    // In another codec.
    let mut text = polls.asker.clone();
    text.codec = Codec::Json;
    let (status, frames) = text.ask("/v1/poll", |hello| hello.poll = 2, &[]).await;
    assert_eq!(
        (status, fatal(&frames).code),
        (415, ErrorCode::Unsupported as u32)
    );
    // None of it did anything.
    let (status, frames) = polls.poll(&[ClientKind::Ping(Ping { t: 2 })]).await;
    assert_eq!(
        (status, frames),
        (200, vec![ServerKind::Pong(Pong { t: 2 })])
    );
}

#[tokio::test]
async fn a_push_needs_no_session_and_a_hello_alone_says_whose_it_would_be() {
    let server = Program::start(&[]);
    let asker = Asker::new(&server.public(), Codec::Json, "ana");
    let mut socket = server.client("wim").await;
    let epoch = socket.subscribe("board:1").await.cursor.epoch;
    let (status, frames) = asker.ask("/v1/push", |_| {}, &[]).await;
    let [ServerKind::Welcome(welcome)] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!((status, &*welcome.principal), (200, "ana"));
    assert!(welcome.session.is_empty());
    let author = welcome.author.clone();
    let pushes = [
        push(
            "board:1",
            epoch,
            1,
            vec![put(card("a", "x")), put(card("b", "y"))],
        ),
        push("board:1", epoch, 3, vec![put(card("c", "z"))]),
        push("no:1", epoch, 1, vec![put(card("c", "z"))]),
    ];
    let (status, frames) = asker
        .ask("/v1/push", |hello| hello.expect_author = author, &pushes)
        .await;
    assert_eq!(status, 200);
    let through = frames.iter().filter_map(|frame| match frame {
        ServerKind::Ack(ack) if ack.channel == "board:1" => Some(ack.through),
        _ => None,
    });
    assert_eq!(through.max(), Some(3), "{frames:?}");
    assert!(
        frames.iter().any(|frame| frame.channel() == Some("no:1")),
        "{frames:?}"
    );
}

#[tokio::test]
async fn requests_that_are_not_ours_are_refused_by_what_is_wrong_with_them() {
    let server = Program::start(&[]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let body = asker.body(asker.hello.clone(), &[]);
    let kind = ("content-type", PROTO);
    let large = Bytes::from(vec![0; 128 * 1024 + 1]);
    for (method, path, headers, body, status, code) in [
        (
            Method::GET,
            "/v1/sse",
            &[kind][..],
            &body,
            405,
            ErrorCode::Unsupported,
        ),
        (
            Method::PUT,
            "/v1/push",
            &[kind],
            &body,
            405,
            ErrorCode::Unsupported,
        ),
        (
            Method::POST,
            "/v1/sse?token=dev:ana",
            &[kind],
            &body,
            400,
            ErrorCode::Malformed,
        ),
        (
            Method::POST,
            "/v1/sse",
            &[],
            &body,
            415,
            ErrorCode::Unsupported,
        ),
        (
            Method::POST,
            "/v1/push",
            &[("content-type", "text/plain")],
            &body,
            415,
            ErrorCode::Unsupported,
        ),
        (
            Method::POST,
            "/v1/push",
            &[kind, ("content-encoding", "gzip")],
            &body,
            415,
            ErrorCode::Unsupported,
        ),
        (
            Method::POST,
            "/v1/push",
            &[kind],
            &large,
            413,
            ErrorCode::FrameTooLarge,
        ),
        (
            Method::POST,
            "/v1/sse",
            &[kind],
            &Bytes::from_static(b"\xff"),
            400,
            ErrorCode::Malformed,
        ),
        (
            Method::POST,
            "/v1/poll",
            &[kind],
            &Bytes::new(),
            400,
            ErrorCode::UnexpectedFrame,
        ),
        (
            Method::POST,
            "/v1/sse",
            &[kind, ("origin", "https://evil.example")],
            &body,
            403,
            ErrorCode::Forbidden,
        ),
    ] {
        let answer = asker
            .request(method.clone(), path, headers, body.clone())
            .await;
        let mut reader = asker.clone();
        if answer.headers()["content-type"] == JSON {
            reader.codec = Codec::Json;
        }
        let (found, headers, frames) = reader.whole(answer).await;
        assert_eq!(
            (found, fatal(&frames).code),
            (status, code as u32),
            "{method} {path}"
        );
        assert_eq!(headers["cache-control"], "no-store, no-transform");
        if status == 405 {
            assert_eq!(headers["allow"], "POST, OPTIONS");
        }
    }
    server.logged("https://evil.example").await;
}

#[tokio::test]
async fn pages_that_may_connect_may_read_every_answer_and_others_none() {
    let server = Program::start(&["--allow-origin", "https://app.example"]);
    let address = server.public();
    let page = "http://localhost:5173";
    for path in ["/v1/sse", "/v1/poll", "/v1/push"] {
        let asking = |origin| {
            format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nOrigin: {origin}\r\n\
                 Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
            )
        };
        let (status, answer) = exchange(&address, &asking(page)).await;
        assert_eq!(status, 200);
        let answer = answer.to_ascii_lowercase();
        for line in [
            &format!("access-control-allow-origin: {page}"),
            "access-control-allow-methods: post",
            "access-control-allow-headers: content-type,prefer",
            "access-control-max-age: 7200",
            "vary: origin",
        ] {
            assert!(answer.contains(line), "{line} in {answer}");
        }
        assert!(!answer.contains("credentials"), "{answer}");
        let (_, answer) = exchange(&address, &asking("https://evil.example")).await;
        assert!(
            !answer.to_ascii_lowercase().contains("allow-origin"),
            "{answer}"
        );
        // Also an error is read.
        let asker = Asker::new(&address, Codec::Protobuf, "ana");
        for (origin, status) in [
            (page, 415),
            ("https://app.example", 415),
            ("https://evil.example", 403),
        ] {
            let answer = asker
                .request(Method::POST, path, &[("origin", origin)], Bytes::new())
                .await;
            assert_eq!(answer.status(), status);
            let headers = answer.headers();
            assert_eq!(headers["vary"], "origin");
            let allowed = headers.get("access-control-allow-origin");
            let exposed = headers.get("access-control-expose-headers");
            match status {
                403 => assert!(allowed.is_none()),
                _ => {
                    assert_eq!(allowed.unwrap(), origin);
                    assert_eq!(exposed.unwrap(), "retry-after");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_has_the_headers_that_proxies_need() {
    let server = Program::start(&[]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let answer = asker.say("/v1/sse", |_| {}, &[]).await;
    let headers = answer.headers();
    assert_eq!(headers["cache-control"], "no-store, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn a_server_without_the_fallback_says_so() {
    let server = Program::start(&["--enable-http-fallback=false"]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    for (path, poll) in [("/v1/sse", 0), ("/v1/poll", 1), ("/v1/push", 0)] {
        let (status, frames) = asker.ask(path, |hello| hello.poll = poll, &[]).await;
        assert_eq!(
            (status, fatal(&frames).code),
            (404, ErrorCode::Unsupported as u32)
        );
    }
    let welcome = |on: bool, welcome: ServerKind| match welcome {
        ServerKind::Welcome(welcome) => {
            assert_eq!(welcome.flags & 1 == 1, on);
            assert_eq!(welcome.fallback_poll_ms, if on { 4000 } else { 0 });
        }
        other => panic!("{other:?}"),
    };
    for (args, on) in [
        (&["--enable-http-fallback=false"][..], false),
        (&["--fallback-poll-interval-ms", "4000"], true),
    ] {
        let server = Program::start(args);
        let mut client = Client::connect(&server.public(), None).await.unwrap();
        client.send([hello("ana")]).await;
        welcome(on, client.next().await);
    }
}

#[tokio::test]
async fn a_drain_tells_streams_and_held_polls_and_lets_nobody_new_in() {
    let server = Program::start(&["--drain-grace-ms", "20000"]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let mut stream = asker.welcomed(&[]).await;
    let mut polls = Polls::open(&asker, &[]).await;
    let admin = server.admin();
    let (held, drained) = tokio::join!(polls.poll(&[]), http(&admin, "POST", "/drain", ""));
    assert_eq!(drained.0, 202);
    let is_goaway = |frame: ServerKind| matches!(frame, ServerKind::Goaway(_)).then_some(());
    assert_eq!(held.0, 200);
    assert!(held.1.into_iter().any(|frame| is_goaway(frame).is_some()));
    stream.events.find(is_goaway).await;
    for (path, poll) in [("/v1/sse", 0), ("/v1/poll", 1)] {
        let answer = asker.say(path, |hello| hello.poll = poll, &[]).await;
        let (status, headers, frames) = asker.whole(answer).await;
        assert_eq!(
            (status, fatal(&frames).code),
            (503, ErrorCode::GoingAway as u32)
        );
        assert!(headers.contains_key("retry-after"));
    }
    // Whoever is in is served until the end.
    let ping = [ClientKind::Ping(Ping { t: 3 })];
    assert_eq!(stream.asker.post(&ping).await, []);
    let is_pong = |frame| (frame == ServerKind::Pong(Pong { t: 3 })).then_some(());
    stream.events.find(is_pong).await;
    let (status, frames) = polls.poll(&ping).await;
    assert_eq!(
        (status, frames),
        (200, vec![ServerKind::Pong(Pong { t: 3 })])
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_lags_and_others_do_not() {
    let server = Program::start(&[]);
    let room = "board:slow";
    let mut writer = server.client("wim").await;
    let epoch = writer.subscribe(room).await.cursor.epoch;
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    // Both open their session and read nothing more.
    let mut stream = asker.welcomed(&[subscribe(room, None)]).await;
    let mut polls = Polls::open(&asker, &[subscribe(room, None)]).await;
    let mut n = 0;
    until("the queues are full", async || {
        for _ in 0..20 {
            n += 1;
            let large = card(&(n % 8).to_string(), &"x".repeat(50_000));
            writer.send([push(room, epoch, n, vec![put(large)])]).await;
            writer
                .find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
                .await;
        }
        let (_, metrics) = http(&server.admin(), "GET", "/metrics", "").await;
        let lagged = metrics
            .lines()
            .find_map(|line| line.strip_prefix("tidewire_lagged_total "))
            .unwrap();
        (lagged.parse::<u64>().unwrap() >= 2).then_some(())
    })
    .await;
    let head = n + 1;
    // Read again, they come to the head all the same, after what was queued: by patches, or where the server says that
    // it has not all of them any more, by subscribing again.
    let found = move |frame| match frame {
        ServerKind::SnapshotBegin(begin) => begin.cursor.map(|at| Some(at.seq)),
        ServerKind::Patch(patch) => Some(Some(patch.to)),
        ServerKind::Lagged(_) => Some(None),
        _ => None,
    };
    let again = [subscribe(room, None)];
    loop {
        match stream.events.find(found).await {
            Some(at) if at == head => break,
            Some(_) => {}
            None => assert_eq!(stream.asker.post(&again).await, []),
        }
    }
    loop {
        match polls.find(found).await {
            Some(at) if at == head => break,
            Some(_) => {}
            None => assert_eq!(polls.asker.post(&again).await, []),
        }
    }
}

#[tokio::test]
async fn a_poster_that_is_too_fast_is_told_when_to_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidewire.toml");
    std::fs::write(&file, "[limits.rate.connection]\nper_s = 1\nburst = 3\n").unwrap();
    let server = Program::start(&["--config", file.to_str().unwrap()]);
    let asker = Asker::new(&server.public(), Codec::Protobuf, "ana");
    let session = asker.welcomed(&[]).await;
    let pings = vec![ClientKind::Ping(Ping { t: 1 }); 5];
    assert_eq!(session.asker.post(&pings).await, []);
    let answer = session.asker.say("/v1/push", |_| {}, &pings).await;
    let (status, headers, frames) = session.asker.whole(answer).await;
    assert_eq!(
        (status, fatal(&frames).code),
        (429, ErrorCode::RateLimited as u32)
    );
    let retry: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&retry), "{retry}");
    assert!(fatal(&frames).retry_ms.is_some());
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = Program::start(&[]);
    let mut socket = TcpStream::connect(server.public()).await.unwrap();
    let head = format!(
        "POST /v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTO}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let told = async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            if socket.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, told)
        .await
        .expect("answered");
    assert!(
        answer.starts_with(b"HTTP/1.1 408 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    // And one that is too long is cut off at the limit, not read to its end.
    let mut socket = TcpStream::connect(server.public()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"8000\r\n".to_vec(), vec![0; 0x8000], b"\r\n".to_vec()].concat();
    let mut sent = 0;
    let flood = async {
        // The socket is closed under it once the limit is reached.
        while socket.write_all(&chunk).await.is_ok() {
            sent += 0x8000;
        }
    };
    let hung_up = tokio::time::timeout(Duration::from_secs(5), flood).await;
    assert!(hung_up.is_ok(), "{sent} bytes were taken");
}
