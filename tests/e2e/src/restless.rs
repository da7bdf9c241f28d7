//! A network that changes all the time: now it lets WebSockets through, now streams, now neither.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the network stays as it is: long enough to be connected, and to do something.
const STAYS: std::ops::Range<u64> = 100..1_500;
/// The head of a request is not longer, here.
const HEAD_MAX: usize = 16 * 1024;

/// Each network its own, and the same ones in each run.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Where all connections go through that whoever asks for it opens. It lasts as long as the test.
#[derive(Debug)]
pub(crate) struct Restless;

/// What gets through at the moment; connections of before are cut.
#[derive(Clone, Copy, Debug)]
struct Weather {
    websocket: bool,
    stream: bool,
    change: u64,
}

impl Restless {
    /// The URL of a network before this one.
    ///
    /// # Panics
    /// When the URL is none of a server on the loopback interface.
    pub(crate) fn before(url: &str) -> String {
        let server = url.rsplit('/').next().and_then(|it| it.parse().ok());
        let server = server.unwrap_or_else(|| panic!("{url} ends with an address"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("sockets can be that");
        let address = listener.local_addr().expect("it is bound");
        let listener = TcpListener::from_std(listener).expect("there is a runtime");
        tokio::spawn(changes(listener, server));
        format!("http://{address}")
    }
}

async fn changes(listener: TcpListener, server: SocketAddr) {
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let weather = watch::Sender::new(Weather {
        websocket: rng.bool(),
        stream: rng.bool(),
        change: 0,
    });
    let mut open = JoinSet::new();
    loop {
        let stays = tokio::time::sleep(Duration::from_millis(rng.u64(STAYS)));
        tokio::pin!(stays);
        loop {
            tokio::select! {
                () = &mut stays => break,
                Ok((client, _)) = listener.accept() => {
                    while open.try_join_next().is_some() {}
                    open.spawn(goes_through(client, server, weather.subscribe()));
                }
            }
        }
        weather.send_modify(|weather| {
            *weather = Weather {
                websocket: rng.bool(),
                stream: rng.bool(),
                change: weather.change + 1,
            }
        });
    }
}

/// One connection: what it is for, its first request says.
async fn goes_through(
    mut client: TcpStream,
    server: SocketAddr,
    mut weather: watch::Receiver<Weather>,
) {
    let Weather {
        websocket,
        stream,
        change,
    } = *weather.borrow();
    let passes = async {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
            if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let is_in_the_way = text.starts_with("get /v1/ws") && !websocket
            || text.starts_with("post /v1/sse") && !stream;
        if is_in_the_way {
            let refusal =
                b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = client.write_all(refusal).await;
            return;
        }
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        if server.write_all(&head).await.is_ok() {
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    };
    tokio::select! {
        () = passes => {}
        _ = weather.wait_for(|weather| weather.change != change) => {}
    }
}
