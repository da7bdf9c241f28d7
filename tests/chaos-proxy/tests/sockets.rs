//! With real sockets: what the kernel makes of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidewire_chaos_proxy::{ChaosProxy, Conditions, Direction, Ending};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// Longer than anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing may come in which nothing should.
const SILENCE: Duration = Duration::from_millis(200);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = timeout(DEADLINE, future).await;
    done.unwrap_or_else(|_| panic!("this did not happen: {what}"))
}

/// A client and a server with a proxy between them.
async fn stage(conditions: Conditions) -> (ChaosProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = ChaosProxy::start(listener.local_addr().unwrap(), 1)
        .await
        .unwrap();
    proxy.set(Direction::Both, conditions).unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = soon("the server is reached", listener.accept())
        .await
        .unwrap();
    (proxy, client, server)
}

async fn reads(from: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    soon("bytes come", from.read_exact(&mut read))
        .await
        .unwrap();
    assert_eq!(read, expected);
}

/// How a side ends: `Ok` is FIN, `ConnectionReset` is RST.
async fn end(side: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    soon("the side ends", side.read_to_end(&mut read)).await?;
    Ok(read)
}

async fn is_reset(side: &mut TcpStream) {
    let error = end(side).await.expect_err("an RST is no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

async fn says_nothing(side: &mut TcpStream) {
    assert!(timeout(SILENCE, side.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_reset_is_a_real_one_on_both_sides() {
    let (proxy, mut client, mut server) = stage(Conditions::default()).await;
    client.write_all(b"hi").await.unwrap();
    reads(&mut server, b"hi").await;
    proxy.reset();
    is_reset(&mut client).await;
    is_reset(&mut server).await;
    soon("it is counted", proxy.has_open(0)).await;
    let counts = proxy.counts();
    assert_eq!((counts.accepted, counts.upstream_bytes), (1, 2));
}

#[tokio::test]
async fn a_close_is_a_clean_one_although_bytes_were_on_their_way() {
    let (proxy, mut client, mut server) = stage(Conditions::default().black_hole()).await;
    client.write_all(b"unread").await.unwrap();
    proxy.close();
    assert_eq!(end(&mut client).await.unwrap(), b"");
    assert_eq!(end(&mut server).await.unwrap(), b"");
}

#[tokio::test]
async fn a_half_close_leaves_the_other_direction() {
    let (proxy, mut client, mut server) = stage(Conditions::default()).await;
    proxy.half_close(Direction::Upstream);
    assert_eq!(end(&mut server).await.unwrap(), b"");
    server.write_all(b"still here").await.unwrap();
    reads(&mut client, b"still here").await;
    // A client that ends its own direction is passed on in the same way.
    let (_proxy, mut client, mut server) = stage(Conditions::default()).await;
    client.write_all(b"all").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(end(&mut server).await.unwrap(), b"all");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(end(&mut client).await.unwrap(), b"answer");
}

#[tokio::test]
async fn in_a_black_hole_sockets_stay_open_and_nothing_is_lost() {
    let (proxy, mut client, mut server) = stage(Conditions::default()).await;
    proxy
        .set(Direction::Both, Conditions::default().black_hole())
        .unwrap();
    client.write_all(b"up").await.unwrap();
    server.write_all(b"down").await.unwrap();
    says_nothing(&mut client).await;
    says_nothing(&mut server).await;
    // One side goes, and the other does not hear of it.
    drop(server);
    says_nothing(&mut client).await;
    assert_eq!(proxy.counts().open, 1);
    proxy.heal();
    reads(&mut client, b"down").await;
}

#[tokio::test]
async fn newcomers_may_be_reset_at_once_or_not_answered() {
    let (proxy, mut client, mut server) = stage(Conditions::default()).await;
    let refuse = Conditions::default().limit(0, Ending::Reset);
    proxy.set(Direction::Upstream, refuse).unwrap();
    is_reset(&mut client).await;
    is_reset(&mut server).await;
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    is_reset(&mut next).await;
}

#[tokio::test]
async fn who_leads_nowhere_is_reset_and_another_server_can_be_led_to() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let proxy = ChaosProxy::start(address, 1).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    is_reset(&mut client).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.lead_to(listener.local_addr().unwrap());
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = soon("it is led there", listener.accept()).await.unwrap();
    client.write_all(b"x").await.unwrap();
    reads(&mut server, b"x").await;
}

#[tokio::test]
async fn more_connections_than_may_be_are_reset() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to: SocketAddr = server.local_addr().unwrap();
    let proxy = ChaosProxy::on(listener, to, 1, 2).unwrap();
    let first = TcpStream::connect(proxy.address()).await.unwrap();
    let _second = TcpStream::connect(proxy.address()).await.unwrap();
    soon("both are in", proxy.has_open(2)).await;
    let mut third = TcpStream::connect(proxy.address()).await.unwrap();
    is_reset(&mut third).await;
    assert_eq!(proxy.counts().refused, 1);
    drop(first);
    soon("one is gone", async {
        // Its server's side has to end too.
        let (served, _) = server.accept().await.unwrap();
        drop(served);
        proxy.has_open(1).await;
    })
    .await;
    let _fourth = TcpStream::connect(proxy.address()).await.unwrap();
    soon("there is room again", proxy.has_open(2)).await;
}

#[tokio::test]
async fn latency_and_bandwidth_take_real_time() {
    let (proxy, mut client, mut server) = stage(Conditions::default()).await;
    let late = Conditions::default().latency(Duration::from_millis(120));
    proxy.set(Direction::Upstream, late).unwrap();
    let begin = Instant::now();
    client.write_all(b"late").await.unwrap();
    reads(&mut server, b"late").await;
    assert!(begin.elapsed() >= Duration::from_millis(120));
    let narrow = Conditions::default().bandwidth(100_000);
    proxy.set(Direction::Downstream, narrow).unwrap();
    let begin = Instant::now();
    server.write_all(&[7; 30_000]).await.unwrap();
    reads(&mut client, &[7; 30_000]).await;
    assert!(begin.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn dropped_it_takes_its_connections_along() {
    let (proxy, mut client, _server) = stage(Conditions::default()).await;
    let address = proxy.address();
    drop(proxy);
    let _ = end(&mut client).await;
    soon("nobody listens any more", async {
        while TcpStream::connect(address).await.is_ok() {}
    })
    .await;
}
