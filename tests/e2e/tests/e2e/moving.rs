//! A server that drains: people notice nothing where another one serves, and nobody waits where none does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tidewire::{ChannelStatus, ConnectionPhase};
use tidewire_e2e::{Board, Front, client, until, within};
use tidewire_server::broker::{Broker, MemoryBroker, RunId};
use tidewire_server::{Config, Server};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server in this process, on a broker that others may serve from too.
struct Node {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    async fn start(broker: &Arc<MemoryBroker>) -> Self {
        let mut config = Config::default();
        config.dev_auth = true;
        let server = Server::builder(config)
            .broker(Arc::clone(broker) as Arc<dyn Broker>)
            .build()
            .expect("built from good values");
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server.run(listener, shutdown).await.expect("it runs");
        });
        Self {
            address,
            stop,
            task,
        }
    }

    /// Drains; returns how long it took until the last client had gone.
    async fn drain(self) -> Duration {
        let begun = Instant::now();
        drop(self.stop);
        within("the server has drained", self.task)
            .await
            .expect("it does not panic");
        begun.elapsed()
    }
}

fn broker() -> Arc<MemoryBroker> {
    Arc::new(MemoryBroker::new(RunId(7)))
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_of_two_servers_drains_no_view_leaves_live_and_no_write_waits() {
    let broker = broker();
    let (first, second) = (Node::start(&broker).await, Node::start(&broker).await);
    let front = Front::before(first.address).await;
    let ana = Board::join(&front.url(), "ana").await;
    let ben = Board::join(&format!("http://{}", second.address), "ben").await;
    let put = ana.cards.put("c", json!({"title": "0"})).expect("taken");
    within("the first write", put.committed())
        .await
        .expect("good");

    ana.channel
        .presence()
        .set(json!({"at": "c"}))
        .expect("small enough");
    until("ben sees ana, who is on the other server", || {
        ben.channel.presence().peers().len() == 1
    })
    .await;
    let who = ben.channel.presence().peers()[0].clone();
    // What ben hears of her from now on.
    let onlooker = ben.clone();
    let missed = tokio::spawn(async move {
        let mut news = onlooker.channel.presence().changes();
        let mut missed = 0;
        while news.next().await.is_some() {
            let peers = onlooker.channel.presence().peers();
            missed += usize::from(peers.len() != 1 || peers[0].number != who.number);
            if peers.first().is_some_and(|ana| ana.data != who.data) {
                break;
            }
        }
        missed
    });

    // Statuses of ana's channel and connection, as they change.
    let watched = ana.clone();
    let (end, mut ended) = oneshot::channel::<()>();
    let mut connection = watched.client.connection();
    // Before the drain begins, whenever the task is first on.
    let mut phases = vec![connection.borrow_and_update().phase];
    let watching = tokio::spawn(async move {
        let mut left_live = false;
        loop {
            left_live |= watched.channel.status() != ChannelStatus::Live;
            let phase = connection.borrow_and_update().phase;
            if phases.last() != Some(&phase) {
                phases.push(phase);
            }
            tokio::select! {
                biased;
                _ = &mut ended => return (phases, left_live),
                _ = connection.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    });

    front.lead_to(Some(second.address));
    let drained = tokio::spawn(first.drain());
    let mut longest = Duration::ZERO;
    let mut writes = 0_u32;
    while !drained.is_finished() {
        writes += 1;
        let begun = Instant::now();
        let fields = json!({"title": writes.to_string()});
        let written = ana.cards.set("c", fields).expect("taken");
        within("a write", written.committed()).await.expect("good");
        longest = longest.max(begun.elapsed());
    }
    let took = drained.await.expect("it does not panic");
    assert!(took < Duration::from_secs(20), "drained after {took:?}");
    assert!(longest < Duration::from_secs(1) + SLACK, "{longest:?}");
    end.send(()).expect("it is watched");
    let (phases, left_live) = watching.await.expect("it does not panic");
    use ConnectionPhase::{Connected, Draining};
    assert_eq!(phases, [Connected, Draining, Connected]);
    assert!(!left_live, "the view was live all the while");
    ana.channel
        .presence()
        .set(json!({"at": "end"}))
        .expect("small enough");
    let missed = within("ben hears of ana's last word", missed).await;
    assert_eq!(
        missed.expect("it does not panic"),
        0,
        "ana was there all the while"
    );
    ana.converges_with(&ben).await;
    assert_eq!(ben.card("c").title, writes.to_string());
}

/// What the machine may add to a time that is measured.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_alone_is_empty_soon_after_its_window() {
    let broker = broker();
    let only = Node::start(&broker).await;
    let url = format!("http://{}", only.address);
    let clients: Vec<_> = (0..40).map(|at| client(&url, &format!("p{at}"))).collect();
    let boards: Vec<Board> = clients.into_iter().map(Board::open).collect();
    for board in &boards {
        within("a first view", board.channel.ready())
            .await
            .expect("the board can be read");
    }
    let took = only.drain().await;
    // The window is two seconds by default.
    assert!(
        took < Duration::from_secs(5) + SLACK,
        "empty after {took:?}"
    );
    until("all have noticed", || {
        let phase = |board: &Board| board.client.connection().borrow().phase;
        boards.iter().all(|board| {
            matches!(
                phase(board),
                ConnectionPhase::Waiting | ConnectionPhase::Connecting
            )
        })
    })
    .await;
}
