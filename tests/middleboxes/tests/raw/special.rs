//! What a row has to show besides.

use std::time::Duration;

use hyper::Method;
use tidewire_chaos_proxy::ChaosProxy;
use tidewire_core::wire::{ClientKind, ServerKind};
use tidewire_middleboxes::{FIRST_DATA, Fate, Middlebox, Row};
use tokio::time::{Instant, timeout};

use crate::http::Asker;
use crate::probe::{
    CODEC, Polls, Stream, WebSocket, as_session, ask, epoch, hello, numbered_push, patch, push,
    subscribe, welcome,
};
use crate::{BUSY, HEARTBEAT, Stage, probe};

/// A byte that comes within this says that nobody collects the stream (docs/protocol/http.md).
const NOT_BUFFERED: Duration = Duration::from_millis(1500);

/// The first byte of each stream that is not collected comes at once, and nobody has to wait for an event.
#[tokio::test]
async fn the_first_byte_of_a_stream_comes_before_anything_is_known() {
    for name in [
        "nginx as documented, TLS ended there",
        "HAProxy as documented, two servers without stickiness",
        "nginx with nothing but `proxy_pass`: Upgrade stripped",
        "nginx that compresses everything",
    ] {
        let stage = Stage::of(Row::named(name), HEARTBEAT).await;
        let begun = Instant::now();
        let accept = [("accept-encoding", "gzip")];
        let mut stream = Stream::open(&stage.address(), &[], &accept)
            .await
            .expect(name);
        let first = timeout(NOT_BUFFERED, stream.bytes()).await.expect(name);
        assert!(!first.expect("it does not break").is_empty(), "{name}");
        assert!(
            begun.elapsed() < NOT_BUFFERED,
            "{name}: {:?}",
            begun.elapsed()
        );
        let is_compressed = stream.headers.get("content-encoding").is_some();
        assert_eq!(
            is_compressed,
            name.contains("compresses"),
            "{name}: {:?}",
            stream.headers
        );
    }
}

/// Cut after 3 s of silence; a heartbeat every second keeps all three alive for more than twice as long.
#[tokio::test]
async fn heartbeats_below_the_cut_keep_every_transport() {
    let _busy = BUSY.lock().await;
    let names = [
        "nginx that cuts what is idle for 3 s",
        "HAProxy that cuts what is idle for 3 s",
    ];
    let (nginx, haproxy, nginx_idle, haproxy_idle) = tokio::join!(
        survive(names[0]),
        survive(names[1]),
        idle(names[0]),
        idle(names[1]),
    );
    assert_eq!((nginx, haproxy), ([Ok(()); 3], [Ok(()); 3]));
    // They do cut.
    assert_eq!((nginx_idle, haproxy_idle), (Fate::Breaks, Fate::Breaks));
}

/// What becomes of a stream that is silent for longer.
async fn idle(name: &str) -> Fate {
    let stage = Stage::of(Row::named(name), HEARTBEAT).await;
    let mut stream = Stream::open(&stage.address(), &[subscribe()], &[])
        .await
        .expect(name);
    let beats = stream.find(|frame| matches!(frame, ServerKind::Heartbeat(_)).then_some(()));
    let beats = timeout(HEARTBEAT / 2, beats).await;
    beats.map_or(Fate::Silent, |found| found.err().unwrap_or(Fate::Works))
}

/// How WebSocket, stream and polls got on for seven heartbeats of a second.
async fn survive(name: &str) -> [Result<(), Fate>; 3] {
    let stage = Stage::of(Row::named(name), Duration::from_secs(1)).await;
    let address = stage.address();
    let heartbeat = |frame| matches!(frame, ServerKind::Heartbeat(_)).then_some(());
    let ack = |frame| matches!(frame, ServerKind::Ack(_)).then_some(());
    let websocket = async {
        let mut link = WebSocket::open(&address).await?;
        link.send([hello(), subscribe()]).await?;
        let epoch = link.find(epoch).await?;
        for _ in 0..7 {
            link.find(heartbeat).await?;
            // Silence the other way is cut too: a client answers.
            link.send([ClientKind::Pong(Default::default())]).await?;
        }
        // Its ack, not its patch: the stream's push is the same change, and may have come first.
        link.send([push(epoch)]).await?;
        link.find(ack).await
    };
    let stream = async {
        let mut stream = Stream::open(&address, &[subscribe()], &[]).await?;
        let welcome = stream.find(welcome).await?;
        let epoch = stream.find(epoch).await?;
        let asker = as_session(&address, &welcome);
        for _ in 0..7 {
            stream.find(heartbeat).await?;
            ask(&asker, "/v1/push", 0, &[]).await?;
        }
        let answers = ask(&asker, "/v1/push", 0, &[push(epoch)]).await?;
        assert!(answers.into_iter().find_map(ack).is_some());
        Ok(())
    };
    let polls = async {
        let mut polls = Polls::open(&address, &[subscribe()]).await?;
        let begun = Instant::now();
        // Held for a heartbeat each, with nothing to tell.
        while begun.elapsed() < Duration::from_secs(7) {
            polls.find(|_| Some(())).await?;
        }
        Ok(())
    };
    let all = async { tokio::join!(websocket, stream, polls) };
    let all = timeout(Duration::from_secs(60), all)
        .await
        .expect("in time");
    [all.0, all.1, all.2]
}

/// Requests of a session go to either server in turn, and reach it through the broker.
#[tokio::test]
async fn two_servers_need_no_stickiness() {
    let row = Row::named("HAProxy as documented, two servers without stickiness");
    let stage = Stage::of(row, HEARTBEAT).await;
    let mut polls = Polls::open(&stage.address(), &[subscribe()])
        .await
        .expect("it works");
    let epoch = polls.find(epoch).await.expect("it works");
    for n in 1..=20 {
        let answers = ask(&polls.asker, "/v1/push", 0, &[numbered_push(epoch, n)]).await;
        let answers = answers.expect("a push needs no session");
        let is_ack = |it: &ServerKind| matches!(it, ServerKind::Ack(ack) if ack.through == n);
        assert!(answers.iter().any(is_ack), "{answers:?}");
        // One patch each, none lost and none twice: the log's place says so.
        let to = polls.find(patch).await.expect("the poll finds its session");
        assert_eq!(to, n + 1);
    }
    let mut stream = Stream::open(&stage.address(), &[], &[])
        .await
        .expect("it works");
    let asker = as_session(
        &stage.address(),
        &stream.find(welcome).await.expect("it works"),
    );
    // A POST for the session: one of two comes to the other server.
    for _ in 0..2 {
        ask(&asker, "/v1/push", 0, &[subscribe()])
            .await
            .expect("it is passed on");
    }
    let to = stream
        .find(probe::epoch)
        .await
        .expect("its answer comes on the stream");
    assert_eq!(to, epoch);
}

/// A page behind a proxy that changes `Host` is told 403 on all three, and so is its preflight; programs are let in.
#[tokio::test]
async fn a_host_without_its_port_shuts_out_pages_alone() {
    let row = Row::named("nginx that passes on a Host without its port");
    let stage = Stage::of(row, HEARTBEAT).await;
    let address = stage.address();
    let origin = format!("http://{address}");
    let page = [("origin", &*origin)];
    let refused = WebSocket::open_with(&address, &page).await.err();
    assert_eq!(refused, Some(Fate::Refused(403)));
    let refused = Stream::open(&address, &[], &page).await.err();
    assert_eq!(refused, Some(Fate::Refused(403)));
    // As documented, with `$http_host`, the same page is the server's own.
    let good = Stage::of(
        Row::named("nginx as documented, TLS ended there"),
        HEARTBEAT,
    )
    .await;
    let origin = format!("https://{}", good.address());
    let page = [("origin", &*origin)];
    let mut stream = Stream::open(&good.address(), &[], &page)
        .await
        .expect("its own page");
    stream.find(welcome).await.expect("it is let in");
    WebSocket::open_with(&good.address(), &page)
        .await
        .map(drop)
        .expect("its own page");
}

/// What a proxy says about when to come again comes through, and it is true.
#[tokio::test]
async fn who_is_told_when_to_come_again_is_let_in_then() {
    let stage = Stage::of(Row::named("nginx that is asked too often"), HEARTBEAT).await;
    let address = stage.address();
    let asker = Asker::new(&address, CODEC, "ana");
    let says = async |path: &str| {
        let body = asker.body(asker.hello.clone(), &[]);
        let kind = [("content-type", asker.kind())];
        asker.request(Method::POST, path, &kind, body).await
    };
    // Two are let through at once; a slow machine may see a third one.
    let mut answer = says("/v1/push").await;
    for _ in 0..10 {
        if answer.status() == 429 {
            break;
        }
        answer = says("/v1/push").await;
    }
    assert_eq!(answer.status(), 429);
    let seconds = answer.headers()["retry-after"]
        .to_str()
        .expect("digits")
        .parse();
    let wait = Duration::from_secs(seconds.expect("digits"));
    assert_eq!(
        WebSocket::open(&address).await.err(),
        Some(Fate::Refused(429))
    );
    let begun = Instant::now();
    // The one wait that is meant: what it says is what is tested.
    tokio::time::sleep(wait).await;
    assert_eq!(says("/v1/push").await.status(), 200);
    assert!(begun.elapsed() <= wait.mul_f64(1.5) + Duration::from_secs(1));
}

/// A portal answers everything with its page; lifted, the same address serves.
#[tokio::test]
async fn a_portal_is_told_from_a_server_and_is_over_when_it_lifts() {
    let good = Stage::of(
        Row::named("nginx with nothing but `proxy_pass`: Upgrade stripped"),
        HEARTBEAT,
    )
    .await;
    let portal = Middlebox::start(Row::named("captive portal"), &[good.servers[0].address()]).await;
    let network = ChaosProxy::start(portal.address(), 1)
        .await
        .expect("a free port");
    let address = network.address().to_string();
    let asker = Asker::new(&address, CODEC, "ana");
    let live = async || {
        let answer = asker
            .request(Method::GET, "/health/live?4711", &[], Default::default())
            .await;
        let status = answer.status().as_u16();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await;
        (status, body.expect("whole").to_bytes())
    };
    let (status, body) = live().await;
    assert_eq!(status, 302);
    assert_ne!(body, "live");
    for fate in [probe::sse(&address).await, probe::poll(&address).await] {
        assert_eq!(fate, Fate::Refused(302));
    }
    network.lead_to(good.middlebox.address());
    let begun = Instant::now();
    assert_eq!(live().await, (200, "live".into()));
    assert_eq!(probe::sse(&address).await, Fate::Works);
    assert!(begun.elapsed() < FIRST_DATA, "{:?}", begun.elapsed());
}

/// The redirect names the same place under https, and the server behind it is told nothing.
#[tokio::test]
async fn http_is_sent_to_https_at_the_same_place() {
    let stage = Stage::of(Row::named("http where https is served"), HEARTBEAT).await;
    let address = stage.address();
    let asker = Asker::new(&address, CODEC, "ana");
    for path in ["/v1/sse", "/v1/poll", "/v1/push", "/v1/ws"] {
        let body = asker.body(asker.hello.clone(), &[]);
        let kind = [("content-type", asker.kind())];
        let answer = asker.request(Method::POST, path, &kind, body).await;
        assert_eq!(answer.status(), 301);
        assert_eq!(
            answer.headers()["location"],
            format!("https://{address}{path}")
        );
    }
}
