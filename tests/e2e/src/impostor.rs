//! Somebody between a client and a good server who answers some requests in its place, wrongly. All others pass.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The head of a request is not longer, here.
const HEAD_MAX: usize = 16 * 1024;

/// What is answered in the server's place.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes, and the end of the connection.
    Whole(Vec<u8>),
    /// These bytes, and then nothing more.
    Stalls(Vec<u8>),
    /// The first bytes, and then the others again and again with a pause before each, until the client hangs up.
    Endless(Vec<u8>, Vec<u8>, Duration),
}

/// Which requests are answered so.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// The begin of their first line: `POST /v1/poll`.
    pub door: &'static str,
    /// So many of them pass before.
    pub after: usize,
    /// How they are answered.
    pub answer: Answer,
}

/// One address before a good server. It ends when it is dropped.
#[derive(Debug)]
pub struct Impostor {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    wrong: Wrong,
    is_good: watch::Sender<bool>,
    asked: AtomicUsize,
    taken: AtomicU64,
}

impl Impostor {
    /// Opens one before a server.
    ///
    /// # Panics
    /// When the URL is none of a server on the loopback interface, or there is no free port.
    pub async fn before(url: &str, wrong: Wrong) -> Self {
        let server = url.rsplit('/').next().and_then(|it| it.parse().ok());
        let server = server.unwrap_or_else(|| panic!("{url} ends with an address"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            server,
            wrong,
            is_good: watch::Sender::new(false),
            asked: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on everything passes; answers that go on end.
    pub fn behave(&self) {
        self.shared.is_good.send_replace(true);
    }

    /// How many requests of the door were made.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// The most bytes that a wrong answer had when its client hung up, or it was over.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        open.spawn(async move { shared.serve(client).await });
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) {
        let mut request = Vec::new();
        let head = loop {
            let end = request.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                break end;
            }
            if request.len() > HEAD_MAX || client.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let is_good = *self.is_good.borrow();
        let is_door = request.starts_with(self.wrong.door.as_bytes());
        let nth = match is_door {
            true => self.asked.fetch_add(1, Ordering::Relaxed),
            false => 0,
        };
        if is_door && !is_good && nth >= self.wrong.after {
            let mut is_good = self.is_good.subscribe();
            tokio::select! {
                () = self.answer(client) => {}
                _ = is_good.wait_for(|is_good| *is_good) => {}
            }
            return;
        }
        let Ok(mut server) = TcpStream::connect(self.server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        if !request.starts_with(b"GET /v1/ws") {
            // Each request has a connection of its own, so that each is seen.
            request.splice(head..head, *b"\r\nconnection: close");
        }
        if server.write_all(&request).await.is_ok() {
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    }

    async fn answer(&self, client: TcpStream) {
        let (mut from, mut to) = client.into_split();
        // The rest of the request is read, so that closing does not reset what was answered; its end is the client's.
        let hung_up = async { while matches!(from.read(&mut [0; 4096]).await, Ok(1..)) {} };
        let writes = async {
            match &self.wrong.answer {
                Answer::Whole(bytes) => {
                    let _ = to.write_all(bytes).await;
                    let _ = to.shutdown().await;
                }
                Answer::Stalls(bytes) => {
                    let _ = to.write_all(bytes).await;
                    std::future::pending::<()>().await;
                }
                Answer::Endless(first, again, pause) => {
                    let mut taken = first.len() as u64;
                    let mut is_open = to.write_all(first).await.is_ok();
                    while is_open {
                        tokio::time::sleep(*pause).await;
                        is_open = to.write_all(again).await.is_ok();
                        taken += again.len() as u64;
                        self.taken.fetch_max(taken, Ordering::Relaxed);
                    }
                }
            }
        };
        tokio::join!(writes, hung_up);
    }
}
