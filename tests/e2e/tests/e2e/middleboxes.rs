//! Native clients behind everything that stands between them and servers: the boxes and what each transport meets there
//! are those of tests/middleboxes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tidewire::{Client, ClientBuilder, ConnectionPhase, ConnectionState, Reason, TransportKind};
use tidewire_chaos_proxy::ChaosProxy;
use tidewire_e2e::{Answer, Board, Impostor, Wrong, quick, until, within};
use tidewire_middleboxes::{FIRST_DATA, Kind, Middlebox, ROWS, Row, Server, broker};
use tidewire_server::TestServer;
use tidewire_server::faults::{Action, Wall};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::tls::trusting_the_authority;

/// As usual: no row needs another.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// What native clients speak. A row is one of those that work for them if its [`Row::first_that_works`] is among these.
const SPOKEN: [&str; 3] = ["websocket", "sse", "long-poll"];
const SPOKEN_KINDS: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

struct Behind {
    url: String,
    is_tls: bool,
    _servers: Vec<Server>,
    _middlebox: Middlebox,
}

impl Behind {
    /// A box and what stands behind it.
    async fn of(row: &Row, heartbeat: Duration) -> Self {
        let broker = broker();
        let mut servers = Vec::new();
        for _ in 0..row.servers() {
            servers.push(Server::start(&broker, heartbeat).await);
        }
        let addresses: Vec<_> = servers.iter().map(Server::address).collect();
        let middlebox = Middlebox::start(row, &addresses).await;
        Self {
            url: middlebox.url(),
            is_tls: middlebox.is_tls(),
            _servers: servers,
            _middlebox: middlebox,
        }
    }

    fn client(&self, name: &str) -> ClientBuilder {
        let client = Client::builder(&self.url)
            .token(name.to_owned())
            .config(quick());
        match self.is_tls {
            true => client.tls(trusting_the_authority()),
            false => client,
        }
    }

    fn board(&self, name: &str) -> Board {
        opened(self.client(name))
    }
}

fn opened(client: ClientBuilder) -> Board {
    Board::open(client.build().expect("the url is good"))
}

/// What each of two clients adds to one number.
const EACH: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_transport_works_there_is_data_soon_and_each_change_counts_once() {
    let mut count = 0;
    for row in ROWS.iter().filter(|row| {
        row.first_that_works()
            .is_some_and(|it| SPOKEN.contains(&it))
    }) {
        let it = Behind::of(row, HEARTBEAT).await;
        let ana = it.board("ana");
        let ready = timeout(FIRST_DATA, ana.channel.ready()).await;
        let ready = ready.unwrap_or_else(|_| panic!("{}: no data", row.name));
        ready.unwrap_or_else(|error| panic!("{}: {error}", row.name));
        let put = ana.cards.put("a", json!({"title": "through", "count": 0}));
        within(row.name, put.expect("it is taken").committed())
            .await
            .expect("nothing refuses it");
        let bo = it.board("bo");
        let changes: Vec<_> = [&ana, &bo]
            .into_iter()
            .flat_map(|board| (0..EACH).map(|_| board.cards.increment("a", "count", 1)))
            .map(|change| change.expect("it is taken"))
            .collect();
        for change in changes {
            within(row.name, change.committed())
                .await
                .expect("nothing refuses it");
        }
        for board in [&ana, &bo] {
            until(row.name, || {
                board.is_settled()
                    && board.cards.ids().len() == 1
                    && board.card("a").count == 2 * EACH as i64
            })
            .await;
        }
        count += 1;
    }
    assert_eq!(count, 13, "all rows but the two that let nothing through");
}

/// How long it may take until a portal is called one, and until there is data once it lifts.
const PORTAL: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_captive_portal_is_called_blocked_and_there_is_data_soon_after_it_lifts() {
    let good = Behind::of(
        Row::named("nginx with nothing but `proxy_pass`: Upgrade stripped"),
        HEARTBEAT,
    )
    .await;
    let portal = Behind::of(Row::named("captive portal"), HEARTBEAT).await;
    let network = ChaosProxy::start(address_of(&portal.url), 1)
        .await
        .expect("a free port");
    let board = opened(
        Client::builder(format!("http://{}", network.address()))
            .token("ana".to_owned())
            .config(quick()),
    );
    let mut connection = board.client.connection();
    let is_blocked = |state: &ConnectionState| {
        let code = state.reason.as_ref().map(Reason::code);
        state.phase == ConnectionPhase::Waiting && code == Some("blocked")
    };
    timeout(PORTAL, connection.wait_for(is_blocked))
        .await
        .expect("it is told in time")
        .expect("the client lives");
    network.lead_to(address_of(&good.url));
    network.close();
    timeout(PORTAL, board.channel.ready())
        .await
        .expect("there is data in time")
        .expect("the board can be read");
}

fn address_of(url: &str) -> SocketAddr {
    let address = url.rsplit('/').next().and_then(|it| it.parse().ok());
    address.expect("it ends with an address")
}

/// Clients that are idle, and what they are behind.
struct Idle {
    time: Duration,
    heartbeat: Duration,
    cuts: [Kind; 2],
}

impl Idle {
    /// Three times as long as the cut; `TIDEWIRE_IDLE_MINUTES` makes it more, with a cut and a heartbeat as people have them.
    fn from_env() -> Self {
        let Ok(minutes) = std::env::var("TIDEWIRE_IDLE_MINUTES") else {
            let cuts = [
                "nginx that cuts what is idle for 3 s",
                "HAProxy that cuts what is idle for 3 s",
            ];
            return Self {
                time: Duration::from_secs(10),
                heartbeat: Duration::from_secs(1),
                cuts: cuts.map(|name| Row::named(name).kind),
            };
        };
        let minutes: u64 = minutes.parse().expect("a number");
        Self {
            time: Duration::from_secs(minutes * 60),
            heartbeat: Duration::from_secs(20),
            cuts: [
                Kind::Nginx("tests/middleboxes/configs/nginx/idle-cut-30.conf"),
                Kind::Haproxy("tests/middleboxes/configs/haproxy/idle-cut-30.cfg"),
            ],
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cuts_the_idle_does_not_cut_a_client_that_hears_heartbeats() {
    let idle = Idle::from_env();
    let mut behind = Vec::new();
    let mut boards = Vec::new();
    for kind in idle.cuts {
        let row = Row {
            kind,
            ..*Row::named("nginx that cuts what is idle for 3 s")
        };
        let it = Behind::of(&row, idle.heartbeat).await;
        for transport in SPOKEN_KINDS {
            let board = opened(it.client(transport.name()).transports([transport]));
            within("the first view", board.channel.ready())
                .await
                .expect("it can be read");
            let since = board.client.connection().borrow().since;
            boards.push((kind, transport, board, since));
        }
        behind.push(it);
    }
    // Nothing is to happen meanwhile.
    tokio::time::sleep(idle.time).await;
    for (kind, transport, board, since) in &boards {
        let state = board.client.connection().borrow().clone();
        let what = format!("{kind:?}, {transport:?}: {state:?}");
        assert_eq!(state.phase, ConnectionPhase::Connected, "{what}");
        assert_eq!(state.since, *since, "{what}");
    }
    let (clients, seconds) = (boards.len(), idle.time.as_secs());
    println!("{clients} clients, idle for {seconds} s");
}

/// How long who is refused has to stay away.
const SECONDS: u64 = 2;
const REFUSALS: [&str; 2] = ["429 Too Many Requests", "503 Service Unavailable"];

fn assert_kept(waited: Duration, what: &str) {
    let least = Duration::from_secs(SECONDS);
    let most = least.mul_f64(1.5) + Duration::from_secs(1);
    assert!(least <= waited && waited <= most, "{what}: {waited:?}");
}

/// Who is told to come again in so many seconds is back by then, and not before, over each transport.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_kept_and_not_much_more_than_that() {
    let kinds = |status| SPOKEN_KINDS.map(|kind| comes_again(status, kind));
    join_all(REFUSALS.into_iter().flat_map(kinds)).await;
}

async fn comes_again(status: &'static str, kind: TransportKind) {
    let what = format!("{status} over {}", kind.name());
    let server = Server::start(&broker(), HEARTBEAT).await;
    let busy = Busy::before(server.address(), status, SECONDS).await;
    let board = opened(
        Client::builder(format!("http://{}", busy.address))
            .token("ana".to_owned())
            .transports([kind])
            .config(quick()),
    );
    within(&what, board.channel.ready())
        .await
        .expect("it can be read");
    let (refused, back) = busy.moments();
    assert_kept(back - refused, &what);
}

/// So it is where one POST is refused: the session goes on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_is_told_when_to_come_again_comes_then_in_the_same_session() {
    let over_http = [TransportKind::Sse, TransportKind::LongPoll];
    let kinds = |status| over_http.map(|kind| posts_again(status, kind));
    join_all(REFUSALS.into_iter().flat_map(kinds)).await;
}

async fn posts_again(status: &'static str, kind: TransportKind) {
    let what = format!("{status} over {}", kind.name());
    let server = TestServer::start().await;
    let wrong = Wrong {
        door: "POST /v1/push",
        // The subscribe passes.
        after: 1,
        answer: Answer::Whole(refusal(status, SECONDS).into()),
    };
    let busy = Impostor::before(&server.url(), wrong).await;
    let board = opened(
        Client::builder(busy.url())
            .token("dev:ana".to_owned())
            .transports([kind])
            .config(quick()),
    );
    within(&what, board.channel.ready())
        .await
        .expect("it can be read");
    let session = board.client.connection().borrow().clone();
    let begun = Instant::now();
    let put = board.cards.put("a", json!({"title": "later"}));
    let put = put.expect("it is taken");
    until(&what, || busy.asked() >= 2).await;
    busy.behave();
    within(&what, put.committed())
        .await
        .expect("nothing refuses it");
    assert_kept(begun.elapsed(), &what);
    assert_eq!(busy.asked(), 3, "{what}");
    assert_eq!(*board.client.connection().borrow(), session, "{what}");
}

fn refusal(status: &str, seconds: u64) -> String {
    format!(
        "HTTP/1.1 {status}\r\nretry-after: {seconds}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

/// A server that refuses the first request and leads on from the second one.
struct Busy {
    address: SocketAddr,
    moments: Arc<Mutex<Vec<Instant>>>,
}

impl Busy {
    async fn before(server: SocketAddr, status: &'static str, seconds: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let moments = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&moments);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let is_first = {
                    let mut moments = noted.lock().expect("nobody panics");
                    moments.push(Instant::now());
                    moments.len() == 1
                };
                tokio::spawn(async move {
                    if is_first {
                        // What was asked is read, or the answer might be lost with it.
                        let mut head = Vec::new();
                        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                            if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let answer = refusal(status, seconds);
                        let _ = client.write_all(answer.as_bytes()).await;
                        let _ = client.shutdown().await;
                        return;
                    }
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, moments }
    }

    /// When the first request came, and the next one.
    fn moments(&self) -> (Instant, Instant) {
        let moments = self.moments.lock().expect("nobody panics");
        (moments[0], moments[1])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_none_works_a_change_waits_and_the_reason_is_told() {
    let mut count = 0;
    for row in ROWS.iter().filter(|row| row.first_that_works().is_none()) {
        let it = Behind::of(row, HEARTBEAT).await;
        let board = it.board("ana");
        let put = board
            .cards
            .put("a", json!({"title": "waits"}))
            .expect("it is taken");
        let mut connection = board.client.connection();
        let told = connection.wait_for(|state| state.reason.is_some());
        within(row.name, told).await.expect("the client lives");
        assert!(board.cards.is_pending("a"), "{}", row.name);
        drop(put);
        count += 1;
    }
    assert_eq!(count, 2, "the rows that let nothing through");
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
                .put(&id, json!({"title": over}))
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
    let put = sums(&ana).put("all", json!({"n": 0}));
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
