//! Fault plans on sessions over HTTP: the same effects, whatever carries the frames.

use hyper::Method;
use tidewire_core::wire::{ClientKind, Codec, Hello, Patch, Ping, Pong, ServerKind};
use tidewire_server::TestServer;
use tidewire_server::faults::{Action, Effect, FrameKind, Plan, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Asker, PROTO, Polls, Session};
use crate::support::{DEADLINE, card, push, put, subscribe, until};

const ROOM: &str = "board:main";

fn asker(server: &TestServer, name: &str) -> Asker {
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    Asker::new(&address, Codec::Protobuf, name)
}

fn set(server: &TestServer, rule: Rule) {
    server.faults().set(Plan::new(1).rule(rule)).unwrap();
}

fn epoch(frame: ServerKind) -> Option<u64> {
    match frame {
        ServerKind::SnapshotBegin(begin) => Some(begin.cursor.unwrap().epoch),
        _ => None,
    }
}

fn patch(frame: ServerKind) -> Option<Patch> {
    match frame {
        ServerKind::Patch(patch) => Some(patch),
        _ => None,
    }
}

fn snapshot_end(frame: ServerKind) -> Option<()> {
    matches!(frame, ServerKind::SnapshotEnd(_)).then_some(())
}

fn ping(t: u64) -> ClientKind {
    ClientKind::Ping(Ping { t })
}

/// Ana reads a stream, bo polls, and both are at the start of the log.
async fn meet(server: &TestServer) -> (Session, Polls, u64) {
    let mut ana = asker(server, "ana")
        .welcomed(&[subscribe(ROOM, None)])
        .await;
    let epoch = ana.events.find(epoch).await;
    ana.events.find(snapshot_end).await;
    let mut bo = Polls::open(&asker(server, "bo"), &[subscribe(ROOM, None)]).await;
    bo.find(snapshot_end).await;
    (ana, bo, epoch)
}

#[tokio::test]
async fn frames_are_doubled_on_streams_and_polls() {
    let server = TestServer::start().await;
    let (mut ana, mut bo, epoch) = meet(&server).await;
    set(
        &server,
        Rule::new("twice", Effect::Duplicate).frames([FrameKind::Patch]),
    );
    ana.asker
        .post(&[push(ROOM, epoch, 1, vec![put(card("a", "x"))])])
        .await;
    for _ in 0..2 {
        assert_eq!(ana.events.find(patch).await.from, 1);
        assert_eq!(bo.find(patch).await.from, 1);
    }
}

#[tokio::test]
async fn what_is_held_back_comes_with_a_later_poll() {
    let server = TestServer::start().await;
    let (ana, mut bo, epoch) = meet(&server).await;
    let rule = Rule::new("slow", Effect::Delay { ms: 300 });
    set(&server, rule.frames([FrameKind::Patch]).principal("bo"));
    for n in 1..=3 {
        let said = push(ROOM, epoch, n, vec![put(card("a", "x"))]);
        ana.asker.post(&[said]).await;
    }
    let mut at = 1;
    while at < 4 {
        let patch = bo.find(patch).await;
        assert_eq!(patch.from, at);
        at = patch.to;
    }
}

#[tokio::test]
async fn pushes_of_a_post_are_held_and_rejected_by_the_plan() {
    let server = TestServer::start().await;
    let (ana, _bo, epoch) = meet(&server).await;
    set(
        &server,
        Rule::new("later", Effect::Hold { retry_ms: 7 }).principal("ana"),
    );
    let said = [push(ROOM, epoch, 1, vec![put(card("a", "x"))])];
    let answers = ana.asker.post(&said).await;
    assert!(
        matches!(&answers[..], [ServerKind::Hold(hold)] if hold.retry_ms == 7),
        "{answers:?}"
    );
    server.faults().clear();
    let answers = ana.asker.post(&said).await;
    assert!(matches!(&answers[..], [ServerKind::Ack(_)]), "{answers:?}");
}

#[tokio::test]
async fn a_push_whose_frame_is_lost_is_told_to_come_again() {
    let server = TestServer::start().await;
    let (ana, _bo, epoch) = meet(&server).await;
    set(
        &server,
        Rule::new("lost", Effect::Drop).frames([FrameKind::Push]),
    );
    let said = [push(ROOM, epoch, 1, vec![put(card("a", "x"))])];
    let answers = ana.asker.post(&said).await;
    assert!(matches!(&answers[..], [ServerKind::Hold(_)]), "{answers:?}");
}

#[tokio::test]
async fn a_cut_breaks_a_stream_and_a_held_poll_and_a_post() {
    let server = TestServer::start().await;
    let (mut ana, mut bo, epoch) = meet(&server).await;
    // Two polls of each number: the one that is refused came later, so the other one is held.
    let url = server.url();
    let address = url.strip_prefix("http://").unwrap();
    let mut held = until("a poll is held", async || {
        bo.number += 1;
        let mut hello = bo.asker.hello.clone();
        hello.poll = bo.number;
        let body = bo.asker.body(hello, &[]);
        let head = format!(
            "POST /v1/poll HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTO}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut held = TcpStream::connect(address).await.unwrap();
        held.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        let headers = [("content-type", PROTO), ("prefer", "wait=0")];
        let twin = bo.asker.request(Method::POST, "/v1/poll", &headers, body);
        (twin.await.status() == 409).then_some(held)
    })
    .await;
    let cut = server.faults().act(Action::Cut { principal: None });
    assert_eq!(cut.await.unwrap(), 2);
    let mut answer = String::new();
    let broken = timeout(DEADLINE, held.read_to_string(&mut answer));
    let _ = broken.await.expect("it breaks off");
    let is_whole = answer.contains("content-length") || answer.ends_with("0\r\n\r\n");
    assert!(!is_whole, "{answer}");
    let broken = loop {
        match ana.events.try_next().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(
        broken.is_err(),
        "a clean end says that all was said: {broken:?}"
    );
    // Their sessions are gone, and the next ones begin with what was there.
    for asker in [&ana.asker, &bo.asker] {
        until("the session is gone", async || {
            let (status, _) = asker.ask("/v1/push", |_| {}, &[ping(2)]).await;
            (status == 410).then_some(())
        })
        .await;
    }
    set(
        &server,
        Rule::new("cut", Effect::Cut).frames([FrameKind::Push]),
    );
    let said = [push(ROOM, epoch, 1, vec![put(card("a", "x"))])];
    let alone = |hello: &mut Hello| hello.session = Default::default();
    assert!(ana.asker.breaks("/v1/push", alone, &said).await);
}

#[tokio::test]
async fn a_silent_stream_stays_open_and_says_nothing() {
    let server = TestServer::start().await;
    let (mut ana, _bo, _) = meet(&server).await;
    // Whatever was on its way is read.
    assert_eq!(ana.asker.post(&[ping(0)]).await, []);
    let is_pong = |frame| matches!(frame, ServerKind::Pong(_)).then_some(());
    ana.events.find(is_pong).await;
    let silenced = server.faults().act(Action::HalfOpen {
        principal: Some("ana".into()),
    });
    assert_eq!(silenced.await.unwrap(), 1);
    assert_eq!(ana.asker.post(&[ping(1)]).await, []);
    // Another session of hers hears, so the answer to the first one would have come as well.
    let mut other = asker(&server, "ana").welcomed(&[]).await;
    assert_eq!(other.asker.post(&[ping(2)]).await, []);
    assert_eq!(other.events.next().await, ServerKind::Pong(Pong { t: 2 }));
    let heard = futures_util::FutureExt::now_or_never(ana.events.try_next());
    assert!(heard.is_none(), "{heard:?}");
}
