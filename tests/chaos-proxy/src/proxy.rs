//! The proxy: a listener, and two pipes for each connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::conditions::{Conditions, ConditionsError, Ending};
use crate::pipe::{Over, Told, Weather, carry, random};

/// How many connections are carried at a time, if nothing else is said.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long the server behind it may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the last bytes of a side may take that was told the end.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// After an error of the listener, as when no file descriptor is left.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
    /// Each way, by itself.
    Both,
}

/// What a proxy has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "program", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Connections that were taken.
    pub accepted: u64,
    /// Those that are open.
    pub open: u64,
    /// Those that were reset since there were too many.
    pub refused: u64,
    /// Bytes that servers were given.
    pub upstream_bytes: u64,
    /// Bytes that clients were given.
    pub downstream_bytes: u64,
}

/// What is done to connections that are open at the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Orders {
    close: u64,
    reset: u64,
}

#[derive(Debug, Default)]
struct Seen {
    accepted: u64,
    open: u64,
    refused: u64,
}

struct Shared {
    seed: u64,
    connections_max: usize,
    to: watch::Sender<SocketAddr>,
    /// Upstream, downstream.
    told: [watch::Sender<Told>; 2],
    orders: watch::Sender<Orders>,
    seen: watch::Sender<Seen>,
    carried: [AtomicU64; 2],
}

/// A TCP proxy before one server. It may be told at any time how bad the network is, in each direction; that holds for
/// connections that are open too. Dropped, it is gone with all its connections.
pub struct ChaosProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl ChaosProxy {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    ///
    /// When there is no such port.
    pub async fn start(to: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::on(listener, to, seed, CONNECTIONS_MAX)
    }

    /// Starts one that carries at most `connections_max` connections at a time; others are reset.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn on(
        listener: TcpListener,
        to: SocketAddr,
        seed: u64,
        connections_max: usize,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            seed,
            connections_max,
            to: watch::Sender::new(to),
            told: Default::default(),
            orders: watch::Sender::default(),
            seen: watch::Sender::default(),
            carried: Default::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What decides chances, jitter and slices.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The server that new connections lead to.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        *self.shared.to.borrow()
    }

    /// New connections lead to another server from now on.
    pub fn lead_to(&self, server: SocketAddr) {
        self.shared.to.send_replace(server);
    }

    /// What a direction is like from now on, in place of what it was like.
    ///
    /// # Errors
    ///
    /// When there can be no such network; nothing is changed then.
    pub fn set(&self, direction: Direction, conditions: Conditions) -> Result<(), ConditionsError> {
        conditions.check()?;
        for told in self.told(direction) {
            told.send_modify(|told| told.conditions = conditions.clone());
        }
        Ok(())
    }

    /// A network without faults again. What was held back comes at once.
    pub fn heal(&self) {
        for told in &self.shared.told {
            told.send_modify(|told| told.conditions = Conditions::default());
        }
    }

    /// What upstream and downstream are like.
    #[must_use]
    pub fn conditions(&self) -> (Conditions, Conditions) {
        let [up, down] = &self.shared.told;
        let of = |told: &watch::Sender<Told>| told.borrow().conditions.clone();
        (of(up), of(down))
    }

    /// Tells both sides of every open connection the end (FIN). Black holes do not hold that back.
    pub fn close(&self) {
        self.shared.orders.send_modify(|orders| orders.close += 1);
    }

    /// Resets every open connection (RST), both sides.
    pub fn reset(&self) {
        self.shared.orders.send_modify(|orders| orders.reset += 1);
    }

    /// Tells the receiving side of every open connection the end, in one direction; the other one goes on.
    pub fn half_close(&self, direction: Direction) {
        for told in self.told(direction) {
            told.send_modify(|told| told.half_closes += 1);
        }
    }

    fn told(&self, direction: Direction) -> &[watch::Sender<Told>] {
        match direction {
            Direction::Upstream => &self.shared.told[..1],
            Direction::Downstream => &self.shared.told[1..],
            Direction::Both => &self.shared.told,
        }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let seen = self.shared.seen.borrow();
        let [up, down] = &self.shared.carried;
        Counts {
            accepted: seen.accepted,
            open: seen.open,
            refused: seen.refused,
            upstream_bytes: up.load(Ordering::Relaxed),
            downstream_bytes: down.load(Ordering::Relaxed),
        }
    }

    /// Waits until as many connections are open; for tests.
    pub async fn has_open(&self, connections: u64) {
        let mut seen = self.shared.seen.subscribe();
        // The sender lives as long as this.
        let _ = seen.wait_for(|seen| seen.open == connections).await;
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl std::fmt::Debug for ChaosProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChaosProxy")
            .field("address", &self.address)
            .field("to", &self.to())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(LISTEN_AGAIN).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() >= shared.connections_max {
            shared.seen.send_modify(|seen| seen.refused += 1);
            reset(client);
            continue;
        }
        shared.seen.send_modify(|seen| {
            seen.accepted += 1;
            seen.open += 1;
        });
        let number = shared.seen.borrow().accepted;
        let open = Open(Arc::clone(&shared));
        connections.spawn(async move { connection(client, number, &open.0).await });
    }
}

/// One connection, counted while it is there.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| seen.open -= 1);
    }
}

async fn connection(mut client: TcpStream, number: u64, shared: &Shared) {
    let mut orders = shared.orders.subscribe();
    let before = *orders.borrow();
    // What is ordered while it connects is meant for it too.
    let [up, down] = [0, 1].map(|way| {
        let mut random = random(shared.seed, number, way as u64);
        let weather = Weather::new(shared.told[way].subscribe(), random.f64());
        (weather, random, &shared.carried[way])
    });
    let to = *shared.to.borrow();
    let Ok(Ok(mut server)) = timeout(CONNECT, TcpStream::connect(to)).await else {
        // It has been accepted already: who reaches nobody is reset.
        return reset(client);
    };
    // Nagle would put slices together again, and hold back what tests time.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ending = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let (weather, random, carried) = up;
        let up = carry(client_reads, server_writes, weather, random, carried);
        let (weather, random, carried) = down;
        let down = carry(server_reads, client_writes, weather, random, carried);
        tokio::select! {
            over = both(up, down) => over,
            ordered = ordered(&mut orders, before) => Over::All(ordered),
        }
    };
    match ending {
        // Both ends were passed on.
        Over::Ended => {}
        Over::All(Ending::Close) => {
            let _ = tokio::join!(end(&mut client), end(&mut server));
        }
        Over::All(_) | Over::Broken => {
            reset(client);
            reset(server);
        }
    }
}

/// Both directions to their end, or the first that ends all.
async fn both(up: impl Future<Output = Over>, down: impl Future<Output = Over>) -> Over {
    tokio::pin!(up, down);
    let first = tokio::select! {
        over = &mut up => (over, true),
        over = &mut down => (over, false),
    };
    match first {
        (Over::Ended, true) => down.await,
        (Over::Ended, false) => up.await,
        (over, _) => over,
    }
}

/// Waits for an order that is about the whole connection.
async fn ordered(orders: &mut watch::Receiver<Orders>, before: Orders) -> Ending {
    match orders.wait_for(|now| *now != before).await {
        Ok(now) if now.reset == before.reset => Ending::Close,
        // The proxy is gone.
        Ok(_) | Err(_) => Ending::Reset,
    }
}

/// Tells a side the end, and reads what it still says, for a short time: sockets that are closed with something unread
/// are reset.
async fn end(side: &mut TcpStream) {
    if side.shutdown().await.is_ok() {
        let mut rest = [0; 4096];
        let reading = async { while matches!(side.read(&mut rest).await, Ok(1..)) {} };
        let _ = timeout(LAST_BYTES, reading).await;
    }
}

/// Closes a socket with a reset.
fn reset(side: TcpStream) {
    // Fails for a socket that is gone already.
    let _ = side.set_zero_linger();
}
