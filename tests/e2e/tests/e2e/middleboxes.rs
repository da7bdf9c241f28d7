//! Native clients behind everything that stands between them and servers: the boxes and what each transport meets there
//! are those of tests/middleboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewire::{Client, ConnectionPhase, ConnectionState, TransportKind};
use tidewire_e2e::{Board, quick, until, within};
use tidewire_middleboxes::{FIRST_DATA, Fate, Middlebox, ROWS, Row, Server, broker};
use tidewire_server::TestServer;
use tidewire_server::faults::{Action, Wall};
use tokio::time::timeout;

use crate::tls::trusting_the_authority;

/// As usual: no row needs another.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// What native clients speak. A row is one of those that work for them if its [`Row::first_that_works`] is among these.
const SPOKEN: [&str; 3] = ["websocket", "sse", "long-poll"];

struct Behind {
    board: Board,
    _servers: Vec<Server>,
    _middlebox: Middlebox,
}

async fn behind(row: &Row) -> Behind {
    let broker = broker();
    let mut servers = Vec::new();
    for _ in 0..row.servers() {
        servers.push(Server::start(&broker, HEARTBEAT).await);
    }
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let middlebox = Middlebox::start(row, &addresses).await;
    let mut client = Client::builder(middlebox.url())
        .token("ana")
        .config(quick());
    if middlebox.is_tls() {
        client = client.tls(trusting_the_authority());
    }
    Behind {
        board: Board::open(client.build().expect("the url is good")),
        _servers: servers,
        _middlebox: middlebox,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_transport_works_there_is_data_soon_and_changes_are_committed() {
    let mut count = 0;
    for row in ROWS.iter().filter(|row| {
        row.first_that_works()
            .is_some_and(|it| SPOKEN.contains(&it))
    }) {
        let it = behind(row).await;
        let ready = timeout(FIRST_DATA, it.board.channel.ready()).await;
        let ready = ready.unwrap_or_else(|_| panic!("{}: no data", row.name));
        ready.unwrap_or_else(|error| panic!("{}: {error}", row.name));
        let put = it
            .board
            .cards
            .put("a", serde_json::json!({"title": "through"}));
        within(row.name, put.expect("it is taken").committed())
            .await
            .expect("nothing refuses it");
        count += 1;
    }
    assert!(count >= 7, "only {count} rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_none_works_a_change_waits_and_the_reason_is_told() {
    let mut count = 0;
    for row in ROWS
        .iter()
        .filter(|row| matches!(row.websocket, Fate::Refused(_)))
    {
        let it = behind(row).await;
        let put = it
            .board
            .cards
            .put("a", serde_json::json!({"title": "waits"}))
            .expect("it is taken");
        let mut connection = it.board.client.connection();
        let told = connection.wait_for(|state| state.reason.is_some());
        within(row.name, told).await.expect("the client lives");
        assert!(it.board.cards.is_pending("a"), "{}", row.name);
        drop(put);
        count += 1;
    }
    assert!(count >= 4, "only {count} rows");
}

/// The chain falls as far as it must, climbs back once nothing is in the way, and misses nothing meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_walls_the_chain_falls_and_climbs_back_without_a_gap() {
    let server = TestServer::start().await;
    let faults = server.faults();
    let mut config = quick();
    config.climb_delay_base = Duration::from_millis(500);
    let client = |name: &str| {
        let client = Client::builder(server.url()).token(format!("dev:{name}"));
        let client = client.config(config.clone()).build();
        Board::open(client.expect("the url is good"))
    };
    let (ana, bo) = (client("ana"), client("bo"));
    let mut written = Vec::new();
    for (websocket, sse, over) in [
        (None, None, "websocket"),
        (Some(Wall::Refuses), None, "sse"),
        (Some(Wall::Refuses), Some(Wall::Collects), "long-poll"),
        (None, None, "websocket"),
    ] {
        faults.wall(TransportKind::WebSocket, websocket);
        faults.wall(TransportKind::Sse, sse);
        if websocket.is_some() {
            let cut = faults.act(Action::Cut { principal: None });
            cut.await.expect("there are links");
        }
        for board in [&ana, &bo] {
            let mut connection = board.client.connection();
            let is_over = |state: &ConnectionState| {
                state.phase == ConnectionPhase::Connected
                    && state.transport.is_some_and(|it| it.name() == over)
            };
            within(over, connection.wait_for(is_over))
                .await
                .expect("the client lives");
        }
        for (board, who) in [(&ana, "ana"), (&bo, "bo")] {
            let id = format!("{over}-{}-{who}", written.len());
            let put = board
                .cards
                .put(&id, serde_json::json!({"title": over}))
                .expect("it is taken");
            within(over, put.committed())
                .await
                .expect("nothing refuses it");
            written.push(id);
        }
        written.sort();
        for board in [&ana, &bo] {
            until(over, || {
                let mut seen: Vec<String> =
                    board.cards.ids().iter().map(ToString::to_string).collect();
                seen.sort();
                seen == written
            })
            .await;
        }
    }
}

/// How often the network changes; `TIDEWIRE_SWITCHES` makes it more.
const SWITCHES: u64 = 12;

/// A network that lets now this through and now that, while both ends change one number: each change counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_breaks_at_random_misses_and_doubles_nothing() {
    let switches = std::env::var("TIDEWIRE_SWITCHES");
    let switches: u64 = switches.map_or(SWITCHES, |text| text.parse().expect("a number"));
    let mut rng = fastrand::Rng::with_seed(switches);
    let server = TestServer::start().await;
    let faults = server.faults().clone();
    let mut config = quick();
    config.climb_delay_base = Duration::from_millis(200);
    config.climb_delay_max = Duration::from_millis(500);
    config.verdict_ttl = Duration::from_secs(1);
    let client = |name: &str| {
        let client = Client::builder(server.url()).token(format!("dev:{name}"));
        let client = client.config(config.clone()).build();
        Board::open(client.expect("the url is good"))
    };
    let (ana, bo) = (client("ana"), client("bo"));
    let sums = |board: &Board| board.channel.collection::<serde_json::Value>("sums");
    let put = sums(&ana).put("all", serde_json::json!({"n": 0}));
    let put = put.expect("it is taken");
    within("the first change", put.committed())
        .await
        .expect("nothing refuses it");

    let over = Arc::new(AtomicBool::new(false));
    let count = |board: &Board| {
        let (sums, over) = (sums(board), Arc::clone(&over));
        tokio::spawn(async move {
            let mut done = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let change = sums.increment("all", "n", 1).expect("it is taken");
                within("a change", change.committed())
                    .await
                    .expect("nothing refuses it");
                done += 1;
            }
            done
        })
    };
    let counting = [count(&ana), count(&bo)];
    let mut kinds = std::collections::BTreeMap::new();
    for _ in 0..switches {
        let walls = [
            (None, None),
            (Some(Wall::Refuses), None),
            (Some(Wall::Refuses), Some(Wall::Refuses)),
            (Some(Wall::Refuses), Some(Wall::Collects)),
        ];
        let (websocket, sse) = walls[rng.usize(0..walls.len())];
        faults.wall(TransportKind::WebSocket, websocket);
        faults.wall(TransportKind::Sse, sse);
        if rng.bool() || websocket.is_some() {
            // There may be nobody at this moment.
            let _ = faults.act(Action::Cut { principal: None }).await;
        }
        let mut connection = ana.client.connection();
        let is_up = |state: &ConnectionState| state.phase == ConnectionPhase::Connected;
        let up = within("a link", connection.wait_for(is_up));
        let transport = up.await.expect("the client lives").transport;
        *kinds.entry(transport.map(TransportKind::name)).or_insert(0) += 1;
        tokio::time::sleep(Duration::from_millis(rng.u64(20..400))).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut sum = 0;
    for counting in counting {
        sum += counting.await.expect("it ends");
    }
    println!("{switches} switches, {sum} changes, over {kinds:?}");
    assert!(kinds.len() >= 2, "{kinds:?}");
    for board in [&ana, &bo] {
        until("both to have the sum", || {
            let all = sums(board).get("all").expect("it is JSON");
            all.is_some_and(|all| all["n"] == sum)
        })
        .await;
    }
}
