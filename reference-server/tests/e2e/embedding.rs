//! The server as a library: the application's own rules, on its own listener.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use tidewire_core::wire::{
    ClientKind, Codec, ErrorFrame, Ping, Pong, PresenceSet, Refresh, ServerKind,
};
use tidewire_server::broker::{
    Answer, Broker, BrokerReply, BrokerRequest, Inbox, Letter, Listed, MemoryBroker, NodeId, RunId,
    Sent, Unavailable, Watch,
};
use tidewire_server::config::BrokerKind;
use tidewire_server::{
    Action, AuthError, Change, ChangeKind, ChannelName, ChannelPattern, Config, Document,
    ErrorCode, Principal, Record, Rejection, Server, TestServer, UnixTime, View, axum,
};
use tokio::net::TcpListener;

use crate::http::{Asker, Polls};
use crate::support::{Client, card, hello, http, push, put, subscribe, until};

const ROOM: &str = "board:main";

fn address(server: &TestServer) -> String {
    server.url().strip_prefix("http://").unwrap().into()
}

async fn client(address: &str, name: &str) -> Client {
    let mut client = Client::connect(address, None).await.unwrap();
    client.send([hello(name)]).await;
    assert!(matches!(client.next().await, ServerKind::Welcome(_)));
    client
}

/// Runs a server on a free port until the test's runtime ends; its address.
async fn spawn(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { server.run(listener, pending()).await.unwrap() });
    address
}

/// The same with its admin door: both addresses.
async fn spawn_with_admin(server: Server) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let admin = door.local_addr().unwrap().to_string();
    let running = server.run_with_admin(listener, Some(door), pending());
    tokio::spawn(async move { running.await.unwrap() });
    (address, admin)
}

fn unix_ms_in(ms: u64) -> UnixTime {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    UnixTime(now.as_millis() as u64 + ms)
}

fn dev() -> Config {
    let mut config = Config::default();
    config.dev_auth = true;
    config
}

/// Tokens here are words that say how the check goes.
async fn check(token: String) -> Result<Principal, AuthError> {
    match token.as_str() {
        "dev:denied" => Err(AuthError::terminal("unknown user")),
        "dev:expired" => Err(AuthError::Expired("yesterday's token".into())),
        "dev:down" => Err(AuthError::retryable("the user database is down")),
        "dev:hangs" => pending().await,
        "dev:bad name" => Ok(Principal::new("a\nb")),
        "dev:stale" => Ok(Principal::new("stale").expires(UnixTime(1))),
        "dev:brief" => Ok(Principal::new("brief").expires(unix_ms_in(1500))),
        "dev:lasting" => Ok(Principal::new("brief").expires(unix_ms_in(600_000))),
        _ => Ok(Principal::new(
            token.strip_prefix("dev:").unwrap_or("nobody"),
        )),
    }
}

#[tokio::test]
async fn a_token_that_is_not_accepted_ends_with_a_typed_reason() {
    let mut config = Config::default();
    config.timeouts.authenticate = Duration::from_millis(200);
    let server = Server::builder(config)
        .authenticate(|token, _| check(token))
        .build()
        .unwrap();
    let address = spawn(server).await;
    for (name, code, close) in [
        ("denied", ErrorCode::Unauthenticated, 1008),
        ("expired", ErrorCode::TokenExpired, 1008),
        ("stale", ErrorCode::TokenExpired, 1008),
        ("down", ErrorCode::AuthUnavailable, 1013),
        ("hangs", ErrorCode::AuthUnavailable, 1013),
        ("bad name", ErrorCode::AuthUnavailable, 1013),
    ] {
        let mut client = Client::connect(&address, None).await.unwrap();
        client.send([hello(name)]).await;
        let (fatal, closed) = client.end().await;
        let fatal = fatal.expect("an error frame");
        assert_eq!(
            (fatal.code, closed),
            (code as u32, Some(close)),
            "{name}: {}",
            fatal.detail
        );
    }
    client(&address, "ana").await;
}

#[tokio::test]
async fn the_application_sees_the_request_that_opened_the_connection() {
    let server = Server::builder(Config::default())
        .authenticate(
            async |_, request| match (request.peer, request.headers.get("host")) {
                (Some(peer), Some(_)) if peer.ip().is_loopback() => Ok(Principal::new("here")),
                _ => Err(AuthError::terminal("not from here")),
            },
        )
        .build()
        .unwrap();
    let address = spawn(server).await;
    client(&address, "ana").await;
}

#[tokio::test]
async fn a_refresh_to_a_token_that_expires_sooner_counts() {
    let server = Server::builder(Config::default())
        .authenticate(|token, _| async move {
            let in_ms = if token == "dev:ana" { 600_000 } else { 1000 };
            Ok(Principal::new("ana").expires(unix_ms_in(in_ms)))
        })
        .build()
        .unwrap();
    let address = spawn(server).await;
    let mut ana = client(&address, "ana").await;
    let begun = Instant::now();
    ana.send([ClientKind::Refresh(Refresh {
        token: "brief".into(),
    })])
    .await;
    let (fatal, _) = ana.end().await;
    assert_eq!(fatal.unwrap().code, ErrorCode::TokenExpired as u32);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_token_that_expires_ends_the_connection_unless_it_was_refreshed() {
    let server = Server::builder(Config::default())
        .authenticate(|token, _| check(token))
        .build()
        .unwrap();
    let address = spawn(server).await;
    let begun = Instant::now();
    let mut brief = client(&address, "brief").await;
    let mut kept = client(&address, "brief").await;
    for (token, name) in [("dev:down", "error"), ("dev:brief", "refreshed")] {
        kept.send([ClientKind::Refresh(Refresh {
            token: token.into(),
        })])
        .await;
        match kept.next().await {
            ServerKind::Error(error) => {
                assert_eq!(name, "error");
                assert!(!error.fatal && error.retry_ms.is_some());
            }
            ServerKind::Refreshed(refreshed) => {
                assert_eq!(name, "refreshed");
                assert!(refreshed.expires_ms > 0);
            }
            other => panic!("{other:?}"),
        }
    }
    let (fatal, closed) = brief.end().await;
    assert_eq!(
        (fatal.unwrap().code, closed),
        (ErrorCode::TokenExpired as u32, Some(1008))
    );
    assert!(begun.elapsed() >= Duration::from_millis(1400));
}

#[tokio::test]
async fn a_token_that_expires_ends_a_session_over_http_unless_it_was_refreshed() {
    let server = Server::builder(Config::default())
        .authenticate(|token, _| check(token))
        .build()
        .unwrap();
    let address = spawn(server).await;
    let asker = Asker::new(&address, Codec::Protobuf, "brief");
    let begun = Instant::now();
    let mut brief = asker.welcomed(&[]).await;
    let mut polls = Polls::open(&asker, &[]).await;
    let mut kept = asker.welcomed(&[]).await;
    let refresh = ClientKind::Refresh(Refresh {
        token: "dev:lasting".into(),
    });
    assert_eq!(kept.asker.post(&[refresh]).await, []);
    kept.asker.hello.token = "dev:lasting".into();
    let is_refreshed = |frame| matches!(frame, ServerKind::Refreshed(_)).then_some(());
    kept.events.find(is_refreshed).await;
    let fatal = |frame| match frame {
        ServerKind::Error(error) if error.fatal => Some(error.code),
        _ => None,
    };
    let expired = ErrorCode::TokenExpired as u32;
    assert_eq!(brief.events.find(fatal).await, expired);
    assert_eq!(
        brief.events.try_next().await.unwrap(),
        None,
        "the stream ends"
    );
    assert_eq!(polls.find(fatal).await, expired);
    assert!(begun.elapsed() >= Duration::from_millis(1400));
    // The one that was refreshed goes on past that.
    let ping = ClientKind::Ping(Ping { t: 7 });
    assert_eq!(kept.asker.post(&[ping]).await, []);
    let is_pong = |frame| (frame == ServerKind::Pong(Pong { t: 7 })).then_some(());
    kept.events.find(is_pong).await;
}

/// The refusal of a frame, which leaves the connection alone.
async fn refused(client: &mut Client, frame: ClientKind) -> ErrorFrame {
    client.send([frame]).await;
    let error = client
        .find(|frame| match frame {
            ServerKind::Error(error) => Some(error),
            _ => None,
        })
        .await;
    assert_eq!(error.code, ErrorCode::Forbidden as u32);
    assert!(!error.fatal);
    error
}

/// A refresh renews the expiry in band; what the new token no longer grants ends at once, and nothing else.
#[tokio::test]
async fn a_refresh_asks_again_for_the_grants_of_what_is_subscribed() {
    let is_less = Arc::new(AtomicBool::new(false));
    let less = Arc::clone(&is_less);
    let granted = move |otherwise| !is_less.load(Ordering::SeqCst) || otherwise;
    let server = Server::builder(Config::default())
        .authenticate(move |token, _| {
            let less = Arc::clone(&less);
            async move {
                // The application remembers what the newest token of a principal grants.
                let name = token.strip_prefix("dev:").unwrap_or_default();
                if name == "less" {
                    less.store(true, Ordering::SeqCst);
                }
                let name = if name == "ben" { "ben" } else { "ana" };
                Ok(Principal::new(name).expires(unix_ms_in(600_000)))
            }
        })
        .authorise(move |who, channel, action| match (who.name(), action) {
            ("ana", Action::Read) => granted(channel.as_str() != "board:secret"),
            ("ana", Action::Presence) => granted(false),
            _ => true,
        })
        .build()
        .unwrap();
    let address = spawn(server).await;
    let mut ana = client(&address, "ana").await;
    ana.subscribe("board:secret").await;
    let start = ana.subscribe(ROOM).await;
    let mut ben = client(&address, "ben").await;
    let secret = ben.subscribe("board:secret").await;
    ben.subscribe(ROOM).await;
    let here = PresenceSet {
        channel: ROOM.into(),
        data: Some("1".into()),
    };
    ana.send([ClientKind::PresenceSet(here)]).await;
    let shown = |frame| match frame {
        ServerKind::Presence(presence) if !presence.full => Some(presence.peers[0].data.clone()),
        _ => None,
    };
    assert_eq!(ben.find(shown).await, Some("1".into()));
    let refresh = |token: &str| {
        ClientKind::Refresh(Refresh {
            token: token.into(),
        })
    };
    ana.send([refresh("dev:ana")]).await;
    ana.find(|frame| matches!(frame, ServerKind::Refreshed(_)).then_some(()))
        .await;
    ana.send([refresh("dev:less")]).await;
    ana.find(|frame| matches!(frame, ServerKind::Refreshed(_)).then_some(()))
        .await;
    let ended = ana
        .find(|frame| match frame {
            ServerKind::Error(error) => Some(error),
            _ => None,
        })
        .await;
    assert_eq!(ended.code, ErrorCode::Forbidden as u32);
    assert_eq!(ended.channel.as_deref(), Some("board:secret"));
    assert_eq!(ben.find(shown).await, None, "no longer shown");
    // Somebody else writes to both: only the one that may be read is heard of.
    for (channel, start) in [("board:secret", &secret), (ROOM, &start)] {
        let item = vec![put(card("1", "news"))];
        ben.send([push(channel, start.cursor.epoch, 1, item)]).await;
        ben.find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
            .await;
    }
    let heard = ana
        .find(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch.channel),
            _ => None,
        })
        .await;
    assert_eq!(heard, ROOM);
}

#[tokio::test]
async fn grants_are_asked_for_each_action() {
    let server = TestServer::start_with(|builder| {
        builder.authorise(|who, channel, action| match (who.name(), action) {
            ("admin", _) => true,
            (_, Action::Read) => channel.as_str() != "board:secret",
            ("guest", _) => false,
            (_, Action::Presence) => false,
            _ => true,
        })
    })
    .await;
    let address = address(&server);
    let mut guest = client(&address, "guest").await;
    refused(&mut guest, subscribe("board:secret", None)).await;
    let here = |data: &'static str| {
        ClientKind::PresenceSet(PresenceSet {
            channel: ROOM.into(),
            data: Some(data.into()),
        })
    };
    refused(&mut guest, here("1")).await;
    let start = guest.subscribe(ROOM).await;
    // It ends presence only: an error with the channel would end the subscription.
    let error = refused(&mut guest, here("1")).await;
    assert_eq!((error.channel, error.id), (None, None));
    assert!(error.detail.contains(ROOM), "{}", error.detail);
    let item = vec![put(card("1", "x"))];
    let error = refused(&mut guest, push(ROOM, start.cursor.epoch, 1, item)).await;
    assert_eq!((error.channel.as_deref(), error.n), (Some(ROOM), Some(1)));
}

#[tokio::test]
async fn whoever_lost_the_right_to_read_gets_nothing_more() {
    let open = Arc::new(AtomicBool::new(true));
    let grant = Arc::clone(&open);
    let server = TestServer::start_with(move |builder| {
        let grant = Arc::clone(&grant);
        builder.authorise(move |who, _, _| who.name() == "admin" || grant.load(Ordering::SeqCst))
    })
    .await;
    let address = address(&server);
    let mut guest = client(&address, "guest").await;
    let mut admin = client(&address, "admin").await;
    let start = guest.subscribe(ROOM).await;
    open.store(false, Ordering::SeqCst);
    let error = refused(&mut guest, subscribe(ROOM, Some(start.cursor))).await;
    assert_eq!((error.channel.as_deref(), error.n), (Some(ROOM), None));
    let item = vec![put(card("1", "secret"))];
    admin.subscribe(ROOM).await;
    admin.send([push(ROOM, start.cursor.epoch, 1, item)]).await;
    admin
        .find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
    guest.send([ClientKind::Ping(Ping { t: 1 })]).await;
    let next = guest.next().await;
    assert!(matches!(next, ServerKind::Pong(_)), "{next:?}");
}

fn validate(state: &View<'_>, who: &Principal, change: &Change) -> Result<(), Rejection> {
    let Some(ChangeKind::Put(record)) = &change.kind else {
        return Ok(());
    };
    if record.id == "panic" {
        panic!("a bug of the application");
    }
    if state.record("cards", &record.id).is_some() && who.name() != "admin" {
        return Err(Rejection::new(
            ErrorCode::Refused,
            "only an admin may replace a card",
        ));
    }
    Ok(())
}

fn initial() -> Document {
    let mut document = Document::default();
    let record = Record::from_fields(&card("first", "welcome").fields);
    document.replace("cards", "first", Some(record));
    document
}

#[tokio::test]
async fn the_application_judges_changes_and_says_how_channels_begin() {
    let server = TestServer::start_with(|builder| {
        builder
            .initial("board", |_| initial())
            .validate("board", validate)
    })
    .await;
    let address = address(&server);
    let mut ana = client(&address, "ana").await;
    let start = ana.subscribe(ROOM).await;
    assert_eq!(start.records, [card("first", "welcome")]);
    let items = vec![
        put(card("first", "mine")),
        put(card("second", "x")),
        put(card("panic", "x")),
        put(card("second", "y")),
    ];
    ana.send([push(ROOM, start.cursor.epoch, 1, items)]).await;
    let mut outcomes = Vec::new();
    while outcomes.len() < 4 {
        if let ServerKind::Patch(patch) = ana.next().await {
            outcomes.extend(
                patch
                    .mids
                    .into_iter()
                    .map(|mid| (mid.n, mid.code, mid.detail)),
            );
        }
    }
    let refused = ErrorCode::Refused as u32;
    let reason = "only an admin may replace a card";
    assert_eq!(outcomes[0], (1, refused, reason.into()));
    assert_eq!(outcomes[1], (2, 0, String::new()));
    assert_eq!((outcomes[2].0, outcomes[2].1), (3, refused));
    assert_eq!(outcomes[3], (4, refused, reason.into()));
    let mut chat = client(&address, "ana").await;
    assert!(chat.subscribe("chat:main").await.records.is_empty());
}

#[tokio::test]
async fn the_applications_routes_share_the_port() {
    let server = TestServer::start_with(|builder| {
        let page = axum::routing::get(async || "<h1>board</h1>");
        builder.routes(axum::Router::new().route("/", page))
    })
    .await;
    let address = address(&server);
    assert_eq!(
        http(&address, "GET", "/", "").await,
        (200, "<h1>board</h1>".into())
    );
    assert_eq!(http(&address, "GET", "/health/live", "").await.0, 200);
    assert_eq!(http(&address, "GET", "/metrics", "").await.0, 404);
    client(&address, "ana").await.subscribe(ROOM).await;
}

#[tokio::test]
async fn a_router_inside_another_program_serves_clients_too() {
    let config = dev();
    let server = Server::builder(config).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new()
        .nest("/sync", server.router())
        .merge(server.router());
    let router = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    client(&address, "ana").await.subscribe(ROOM).await;
    assert_eq!(http(&address, "GET", "/sync/health/live", "").await.0, 200);
}

#[tokio::test]
async fn a_test_server_restarts_on_the_same_port_with_its_state() {
    let mut server = TestServer::start().await;
    let address = address(&server);
    let mut ana = client(&address, "ana").await;
    let start = ana.subscribe(ROOM).await;
    ana.send([push(ROOM, start.cursor.epoch, 1, vec![put(card("1", "x"))])])
        .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
    server.restart().await;
    assert_eq!(ana.end().await.1, Some(1001));
    let mut ana = client(&address, "ana").await;
    let again = ana.subscribe(ROOM).await;
    assert_eq!(again.cursor.epoch, start.cursor.epoch);
    assert_eq!(again.records, [card("1", "x")]);
    drop(server);
    assert!(matches!(ana.end().await.1, Some(1001) | None));
}

#[tokio::test]
async fn heartbeats_name_moved_heads_and_silence_ends_the_link() {
    let mut config = dev();
    config.timeouts.heartbeat = Duration::from_millis(200);
    config.timeouts.silence = Duration::from_millis(1000);
    let address = spawn(Server::builder(config).build().unwrap()).await;
    let mut ana = client(&address, "ana").await;
    let start = ana.subscribe(ROOM).await;
    let mut beats = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1800) {
        if let ServerKind::Heartbeat(heartbeat) = ana.next().await {
            beats += 1;
            assert_eq!(heartbeat.heads.len(), 1, "moved, then in turn");
            assert_eq!(heartbeat.heads[0].cursor, Some(start.cursor));
            ana.send([ClientKind::Pong(Pong {
                t: heartbeat.server_ms,
            })])
            .await;
        }
    }
    assert!(beats >= 5, "{beats}: answered heartbeats keep the link");
    let (fatal, _) = ana.end().await;
    assert_eq!(fatal.unwrap().code, ErrorCode::HeartbeatTimeout as u32);
}

#[tokio::test]
async fn a_channel_that_nobody_uses_leaves_memory_and_comes_back() {
    let mut config = dev();
    config.timeouts.linger = Duration::from_millis(100);
    let (address, admin) = spawn_with_admin(Server::builder(config).build().unwrap()).await;
    let routing = async || http(&admin, "GET", "/health/routing", "").await.1;
    let mut cursor = None;
    for round in 0..5 {
        let mut ana = client(&address, "ana").await;
        let start = ana.subscribe(ROOM).await;
        assert!(
            cursor.is_none_or(|before| before == start.cursor),
            "round {round}"
        );
        cursor = Some(start.cursor);
        assert!(routing().await.contains("\"channels\":1"));
        ana.close().await;
        let gone = async || routing().await.contains("\"channels\":0").then_some(());
        until("the channel goes", gone).await;
    }
}

#[tokio::test]
async fn a_server_that_stopped_has_let_go_of_its_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = dev();
    config.broker = BrokerKind::Disk;
    config.data_dir = dir.path().join("data");
    let mut cursor = None;
    for _ in 0..3 {
        let server = Server::builder(config.clone()).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(server.run(listener, async move {
            let _ = stopped.await;
        }));
        let mut ana = client(&address, "ana").await;
        let start = ana.subscribe(ROOM).await;
        assert!(cursor.is_none_or(|before| before == start.cursor));
        cursor = Some(start.cursor);
        ana.close().await;
        drop(stop);
        running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_panic_in_the_applications_code_ends_that_connection_and_frees_its_seats() {
    let mut config = dev();
    config.timeouts.linger = Duration::from_millis(10);
    let server = Server::builder(config)
        .authorise(|_, channel, _| match channel.as_str() {
            "board:panic" => panic!("a bug of the application"),
            _ => true,
        })
        .build()
        .unwrap();
    let (address, admin) = spawn_with_admin(server).await;
    let mut ana = client(&address, "ana").await;
    ana.subscribe(ROOM).await;
    ana.send([subscribe("board:panic", None)]).await;
    assert_eq!(ana.end().await, (None, None));
    let nothing = "\"channels\":0,\"connections\":0,\"subscriptions\":0";
    let routing = async || http(&admin, "GET", "/health/routing", "").await.1;
    let gone = async || routing().await.contains(nothing).then_some(());
    until("nothing is left", gone).await;
    client(&address, "bob").await.subscribe(ROOM).await;
}

/// A memory broker that can be told to fail.
struct Moody {
    logs: MemoryBroker,
    fails: AtomicBool,
}

impl Moody {
    fn mood(&self) -> Result<(), Unavailable> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(Unavailable {
                detail: "in a bad mood".into(),
            }),
            false => Ok(()),
        }
    }
}

impl Broker for Moody {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer<BrokerReply> {
        match self.mood() {
            Ok(()) => self.logs.request(channel, request),
            Err(Unavailable { detail }) => Answer::Ready(BrokerReply::Failed { detail }),
        }
    }

    fn watch(&self, channels: &ChannelPattern) -> Watch {
        self.logs.watch(channels)
    }

    fn publish(&self, channel: &ChannelName, message: Bytes) -> Answer<Result<(), Unavailable>> {
        self.logs.publish(channel, message)
    }

    fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>> {
        self.logs.inbox(node)
    }

    fn send(&self, node: NodeId, letter: Letter) -> Answer<Result<Sent, Unavailable>> {
        self.logs.send(node, letter)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Answer<Result<Listed, Unavailable>> {
        self.logs.list(prefix, after, limit)
    }

    fn health(&self) -> Answer<Result<(), Unavailable>> {
        Answer::Ready(self.mood())
    }

    fn close(&self) -> Answer<()> {
        self.logs.close()
    }
}

#[tokio::test]
async fn a_push_that_finds_no_room_for_its_channel_is_held_and_not_lost() {
    let mut config = dev();
    config.channels_max = 1;
    config.timeouts.linger = Duration::from_millis(10);
    let address = spawn(Server::builder(config).build().unwrap()).await;
    let mut ana = client(&address, "ana").await;
    ana.subscribe(ROOM).await;
    let item = vec![put(card("1", "x"))];
    ana.send([push("board:other", 1, 1, item)]).await;
    let hold = ana
        .find(|frame| match frame {
            ServerKind::Hold(hold) => Some(hold),
            ServerKind::Error(error) => panic!("{error:?}"),
            _ => None,
        })
        .await;
    assert_eq!(hold.code, ErrorCode::Overloaded as u32);
    assert_eq!(hold.channel, "board:other");
    assert!(hold.retry_ms > 0);
}

#[tokio::test]
async fn while_the_broker_fails_the_server_is_not_ready_and_afterwards_nothing_is_lost() {
    let broker = Arc::new(Moody {
        logs: MemoryBroker::new(RunId(1)),
        fails: AtomicBool::new(false),
    });
    let server = Server::builder(dev())
        .broker(broker.clone())
        .build()
        .unwrap();
    let address = spawn(server).await;
    let mut ana = client(&address, "ana").await;
    let start = ana.subscribe(ROOM).await;
    broker.fails.store(true, Ordering::SeqCst);
    ana.send([push(ROOM, start.cursor.epoch, 1, vec![put(card("1", "x"))])])
        .await;
    let ready = async |wanted: u16| {
        let status = async || http(&address, "GET", "/health/ready", "").await.0;
        let is_so = async || (status().await == wanted).then_some(());
        until("readiness follows", is_so).await;
    };
    ready(503).await;
    assert_eq!(http(&address, "GET", "/health/live", "").await.0, 200);
    broker.fails.store(false, Ordering::SeqCst);
    ready(200).await;
    // Held or not, the client sends it again, and it counts once.
    ana.send([push(ROOM, start.cursor.epoch, 1, vec![put(card("1", "x"))])])
        .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(ack) if ack.through == 1).then_some(()))
        .await;
    let document = client(&address, "bob")
        .await
        .document(ROOM, start.cursor.seq + 1)
        .await;
    assert_eq!(document.len(), 1);
}
