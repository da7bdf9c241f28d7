//! Two servers on one broker, and requests that come to either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use tidewire_core::wire::{ClientKind, Codec, ErrorCode, Ping, Pong, ServerKind};
use tidewire_server::broker::{Broker, MemoryBroker, RunId};
use tidewire_server::{Config, Server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::http::{Asker, PROTO, Polls, fatal};
use crate::over_http::{held, is_gone};
use crate::support::{DEADLINE, card, push, put, subscribe, until};

/// A server of this process.
struct Node {
    address: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Node {
    async fn start(broker: &Arc<dyn Broker>) -> Self {
        Self::with_grace(broker, Duration::ZERO).await
    }

    async fn with_grace(broker: &Arc<dyn Broker>, grace: Duration) -> Self {
        let mut config = Config::default();
        config.dev_auth = true;
        config.drain_grace = grace;
        config.timeouts.goaway_window = Duration::ZERO;
        let server = Server::builder(config).broker(Arc::clone(broker)).build();
        let server = server.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.run(listener, stopped).await.unwrap();
        });
        Self {
            address,
            stop,
            running,
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }
}

fn broker() -> Arc<dyn Broker> {
    Arc::new(MemoryBroker::new(RunId(7)))
}

/// The same client, with its requests at another node.
fn at(asker: &Asker, node: &Node) -> Asker {
    let mut other = Asker::new(&node.address, asker.codec, "ana");
    other.hello = asker.hello.clone();
    other
}

fn ping(t: u64) -> ClientKind {
    ClientKind::Ping(Ping { t })
}

fn epoch(frame: ServerKind) -> Option<u64> {
    match frame {
        ServerKind::SnapshotBegin(begin) => Some(begin.cursor.unwrap().epoch),
        _ => None,
    }
}

#[tokio::test]
async fn requests_find_their_session_whichever_node_they_come_to() {
    let broker = broker();
    let (here, there) = (Node::start(&broker).await, Node::start(&broker).await);
    for codec in [Codec::Protobuf, Codec::Json] {
        let room = format!("board:{codec:?}");
        let ana = Asker::new(&here.address, codec, "ana");
        let mut session = ana.welcomed(&[]).await;
        let elsewhere = at(&session.asker, &there);
        // A subscribe goes to the home, and its answer comes on the stream.
        assert_eq!(elsewhere.post(&[subscribe(&room, None)]).await, []);
        let epoch = session.events.find(epoch).await;
        // A push is evaluated where it came, and its patch comes through the broker.
        let answer = elsewhere
            .post(&[push(&room, epoch, 1, vec![put(card("c1", "x"))]), ping(1)])
            .await;
        assert!(
            matches!(&answer[..], [ServerKind::Ack(ack)] if ack.through == 1),
            "{answer:?}"
        );
        let patch = |frame| match frame {
            ServerKind::Patch(patch) => Some(patch.mids.len()),
            _ => None,
        };
        assert_eq!(session.events.find(patch).await, 1);
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn polls_are_held_at_home_and_keep_their_turn_on_every_node() {
    let broker = broker();
    let (here, there) = (Node::start(&broker).await, Node::start(&broker).await);
    let ana = Asker::new(&here.address, Codec::Protobuf, "ana");
    let mut polls = Polls::open(&ana, &[]).await;
    let (own, other) = (polls.asker.clone(), at(&polls.asker, &there));
    for round in 0..4 {
        polls.asker = [&own, &other][round % 2].clone();
        let t = round as u64;
        let (status, frames) = polls.poll(&[ping(t)]).await;
        assert_eq!((status, frames), (200, vec![ServerKind::Pong(Pong { t })]));
    }
    // One that is held over there ends with what is posted here.
    polls.asker = other.clone();
    let said = [ping(9)];
    let (held, posted) = tokio::join!(polls.poll(&[]), own.post(&said));
    assert_eq!(posted, []);
    // The pong may have been there first.
    assert_eq!(held, (200, vec![ServerKind::Pong(Pong { t: 9 })]));
    let copy = other.ask("/v1/poll", |hello| hello.poll = 6, &[]).await;
    assert_eq!(
        (copy.0, fatal(&copy.1).code),
        (409, ErrorCode::UnexpectedFrame as u32)
    );
    // A hold that is over is over there too.
    let mut hello = other.hello.clone();
    hello.poll = 7;
    let headers = [("content-type", PROTO), ("prefer", "wait=0")];
    let answer = other
        .request(Method::POST, "/v1/poll", &headers, other.body(hello, &[]))
        .await;
    let (status, _, frames) = other.whole(answer).await;
    assert_eq!((status, frames), (200, vec![]));
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_poll_that_is_hung_up_elsewhere_ends_its_session_at_home() {
    let broker = broker();
    let (here, there) = (Node::start(&broker).await, Node::start(&broker).await);
    let ana = Asker::new(&here.address, Codec::Protobuf, "ana");
    let polls = Polls::open(&ana, &[]).await;
    let elsewhere = at(&polls.asker, &there);
    drop(held(&elsewhere, &there.address).await);
    is_gone(&polls.asker).await;
    // One that is followed by the next one is not.
    let mut polls = Polls::open(&ana, &[]).await;
    let elsewhere = at(&polls.asker, &there);
    let (before, number) = held(&elsewhere, &there.address).await;
    polls.number = number;
    let (status, frames) = polls.poll(&[ping(4)]).await;
    assert_eq!(
        (status, frames),
        (200, vec![ServerKind::Pong(Pong { t: 4 })])
    );
    drop(before);
    let (status, frames) = polls.poll(&[ping(5)]).await;
    assert_eq!(
        (status, frames),
        (200, vec![ServerKind::Pong(Pong { t: 5 })])
    );
    here.stop().await;
    there.stop().await;
}

/// A client whose connection leads to a node that drains is answered at once, and its next request comes elsewhere.
#[tokio::test]
async fn a_node_that_drains_holds_no_polls_of_other_homes_and_ends_connections() {
    let broker = broker();
    let home = Node::start(&broker).await;
    let drains = Node::with_grace(&broker, Duration::from_secs(60)).await;
    let ana = Asker::new(&home.address, Codec::Protobuf, "ana");
    let asker = at(&Polls::open(&ana, &[]).await.asker, &drains);
    // So that it does not end before its own client leaves.
    let own = Asker::new(&drains.address, Codec::Protobuf, "ben");
    let mut own = own.welcomed(&[]).await;
    let poll = async |number, wait: &str| {
        let mut hello = asker.hello.clone();
        hello.poll = number;
        let headers = [("content-type", PROTO), ("prefer", wait)];
        let body = asker.body(hello, &[]);
        let answer = asker
            .request(Method::POST, "/v1/poll", &headers, body)
            .await;
        let (status, headers, frames) = asker.whole(answer).await;
        let connection = headers.get("connection").cloned();
        (status, connection.is_some_and(|it| it == "close"), frames)
    };
    assert_eq!(poll(2, "wait=0").await, (200, false, vec![]));
    drains.stop.send(()).unwrap();
    own.events
        .find(|frame| matches!(frame, ServerKind::Goaway(_)).then_some(()))
        .await;
    // It would be held for 25 s.
    let asked = Instant::now();
    assert_eq!(poll(3, "wait=25").await, (200, true, vec![]));
    assert!(asked.elapsed() < Duration::from_secs(10));
    drop(own);
    drains.running.await.unwrap();
    home.stop().await;
}

/// A node that nobody is connected to, but for a poll that it has forwarded, stays until that is answered.
#[tokio::test]
async fn a_node_does_not_end_under_a_poll_that_it_has_forwarded() {
    let broker = broker();
    let home = Node::start(&broker).await;
    let drains = Node::with_grace(&broker, Duration::from_secs(60)).await;
    let ana = Asker::new(&home.address, Codec::Protobuf, "ana");
    let mut polls = Polls::open(&ana, &[]).await;
    let own = polls.asker.clone();
    polls.asker = at(&own, &drains);
    let (mut before, number) = held(&polls.asker, &drains.address).await;
    drains.stop.send(()).unwrap();
    // Longer than open requests have once a server stops.
    let mut running = drains.running;
    let ended = timeout(Duration::from_secs(2), &mut running).await;
    assert!(ended.is_err(), "it has ended under poll {number}");
    assert_eq!(own.post(&[ping(9)]).await, []);
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, before.read_to_end(&mut answer));
    read.await.expect("it ends").expect("it does not break");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let ended = timeout(DEADLINE, running).await;
    ended.expect("it ends").unwrap();
    home.stop().await;
}

#[tokio::test]
async fn a_thief_fares_no_better_on_another_node() {
    let broker = broker();
    let (here, there) = (Node::start(&broker).await, Node::start(&broker).await);
    let ana = Asker::new(&here.address, Codec::Protobuf, "ana");
    let polls = Polls::open(&ana, &[]).await;
    let mut thief = at(&polls.asker, &there);
    thief.hello.token = "dev:eve".into();
    thief.hello.expect_author = Default::default();
    for (path, poll) in [("/v1/poll", 2), ("/v1/push", 0)] {
        let (status, frames) = thief.ask(path, |hello| hello.poll = poll, &[ping(1)]).await;
        let code = ErrorCode::WrongPrincipal as u32;
        assert_eq!((status, fatal(&frames).code), (403, code));
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_session_whose_node_is_gone_has_moved() {
    let broker = broker();
    let (here, there) = (Node::start(&broker).await, Node::start(&broker).await);
    let ana = Asker::new(&here.address, Codec::Protobuf, "ana");
    let mut session = ana.welcomed(&[subscribe("board:1", None)]).await;
    let epoch = session.events.find(epoch).await;
    let elsewhere = at(&session.asker, &there);
    assert_eq!(elsewhere.post(&[ping(1)]).await, []);
    here.stop().await;
    until("the home is known to be gone", async || {
        let (status, frames) = elsewhere.ask("/v1/push", |_| {}, &[ping(2)]).await;
        (status == 410 && fatal(&frames).code == ErrorCode::Moved as u32).then_some(())
    })
    .await;
    // What the POST would have pushed besides was not looked at; without the session it is.
    let pushed = push("board:1", epoch, 1, vec![put(card("c1", "x"))]);
    let (status, _) = elsewhere
        .ask("/v1/push", |_| {}, &[pushed.clone(), ping(3)])
        .await;
    assert_eq!(status, 410);
    let (status, frames) = elsewhere
        .ask(
            "/v1/push",
            |hello| hello.session = Default::default(),
            &[pushed],
        )
        .await;
    assert_eq!(status, 200);
    assert!(
        matches!(&frames[..], [ServerKind::Ack(ack)] if ack.through == 1),
        "{frames:?}"
    );
    // The client goes on with a session of the node that is left.
    let mut again = at(&ana, &there)
        .welcomed(&[subscribe("board:1", None)])
        .await;
    let begin = again
        .events
        .find(|frame| match frame {
            ServerKind::SnapshotBegin(begin) => begin.known,
            _ => None,
        })
        .await;
    assert_eq!(begin.last, 1);
    there.stop().await;
}
