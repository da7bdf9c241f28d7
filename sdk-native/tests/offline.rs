//! What holds without any server: edits show, everything is bounded, and nothing waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::json;
use tidewire::{
    BuildError, CancelError, Changes, ChannelEvent, Client, Collection, Config, ConnectionPhase,
    MutateError, MutationError, MutationStatus, NetworkHint, ReadyError,
};

/// Accepts connections into its backlog and never says a word.
struct MuteServer(std::net::TcpListener);

impl MuteServer {
    fn start() -> Self {
        Self(std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    fn client_with(&self, config: Config) -> Client {
        let address = self.0.local_addr().expect("an address");
        Client::builder(format!("http://{address}"))
            .token("dev:ana")
            .config(config)
            .build()
            .expect("the url is good and there is a runtime")
    }

    fn client(&self) -> Client {
        self.client_with(Config::default())
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("this did not happen in time: {what}"))
}

#[tokio::test]
async fn nothing_happens_before_the_first_channel() {
    let server = MuteServer::start();
    let client = server.client();
    let connection = client.connection();
    assert_eq!(connection.borrow().phase, ConnectionPhase::Idle);
    let mut connection = client.connection();
    let _channel = client.channel("board:main").expect("a good name");
    within(
        "it connects",
        connection.wait_for(|state| state.phase == ConnectionPhase::Connecting),
    )
    .await
    .expect("the client lives");
}

#[tokio::test]
async fn edits_show_at_once_in_every_handle() {
    let server = MuteServer::start();
    let client = server.client();
    let cards: Collection<serde_json::Value> = client
        .channel("board:main")
        .expect("a good name")
        .collection("cards");
    let same: Collection<serde_json::Value> = client
        .channel("board:main")
        .expect("the same channel")
        .collection("cards");
    let put = cards
        .put("a", json!({"title": "x", "n": 1}))
        .expect("taken without a server");
    assert_eq!(put.status(), MutationStatus::Queued);
    let set = same.set("a", json!({"title": "y"})).expect("taken");
    let add = same.increment("a", "n", 41).expect("taken");
    let card = cards.get("a").expect("JSON fits").expect("it is there");
    assert_eq!(*card, json!({"title": "y", "n": 42}));
    let unset = cards.unset("a", &["n"]).expect("taken");
    assert_eq!(cards.json("a").as_deref(), Some(r#"{"title":"y"}"#));
    let delete = cards.delete("a").expect("taken");
    assert!(same.ids().is_empty());
    let numbers: Vec<_> = [put, set, add, unset, delete]
        .iter()
        .map(|mutation| mutation.id().expect("numbered at once").n)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_full_outbox_refuses_the_call_and_changes_nothing() {
    let server = MuteServer::start();
    let mut config = Config::default();
    config.outbox_rows_max = 3;
    let client = server.client_with(config);
    let cards: Collection<serde_json::Value> = client
        .channel("board:main")
        .expect("a good name")
        .collection("cards");
    for id in ["a", "b", "c"] {
        let _ = cards.put(id, json!({})).expect("there is room");
    }
    let error = cards.put("d", json!({})).expect_err("there is no room");
    assert_eq!(error, MutateError::QueueFull { rows: 3 });
    assert_eq!(cards.ids().len(), 3);
}

#[tokio::test]
async fn bad_names_and_values_are_refused_in_the_call() {
    let server = MuteServer::start();
    let client = server.client();
    for name in ["", "board", "board:", "board: main"] {
        assert!(client.channel(name).is_err(), "{name:?}");
    }
    let channel = client.channel("board:main").expect("a good name");
    let odd = channel.collection::<()>("no spaces");
    assert!(odd.ids().is_empty());
    assert_eq!(
        odd.put("a", json!({})).expect_err("bad name").code(),
        "invalid"
    );
    let cards = channel.collection::<()>("cards");
    assert_eq!(
        cards.put("", json!({})).expect_err("no id").code(),
        "invalid"
    );
    assert_eq!(cards.put("a", 7).expect_err("no map").code(), "invalid");
    let empty = channel
        .batch(|_| {})
        .expect_err("a mutation needs a change");
    assert_eq!(empty.code(), "invalid");
}

#[tokio::test]
async fn a_slow_reader_of_changes_gets_merged_items_and_then_is_told_that_it_lags() {
    let server = MuteServer::start();
    let client = server.client();
    let channel = client.channel("board:main").expect("a good name");
    let cards = channel.collection::<serde_json::Value>("cards");
    let mut changes = cards.changes();
    let mut others = channel.collection::<()>("columns").changes();
    for id in ["b", "a", "b"] {
        let _ = cards.put(id, json!({"at": id})).expect("taken");
    }
    let mut ids = Vec::new();
    while ids.len() < 2 {
        match within("changes", changes.next()).await {
            Some(Changes::Records(some)) => ids.extend(some),
            other => panic!("{other:?}"),
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids, ["a".into(), "b".into()]);

    for at in 0..1100 {
        let _ = cards.put(&format!("{at}"), json!({})).expect("taken");
    }
    within("it lags", async {
        loop {
            match changes.next().await {
                Some(Changes::Lagged) => break,
                Some(Changes::Records(_)) => {}
                None => panic!("the client lives"),
            }
        }
    })
    .await;

    let _ = channel
        .collection::<()>("columns")
        .put("todo", json!({}))
        .expect("taken");
    let first = within("only its own collection", others.next()).await;
    assert_eq!(first, Some(Changes::Records(vec!["todo".into()])));
}

/// A record whose `Deserialize` and `Drop` use the client: both must run without its lock.
struct Nosy(Collection<Self>);

thread_local! {
    static NOSY: std::cell::RefCell<Option<Collection<Nosy>>> = const { std::cell::RefCell::new(None) };
}

static NOSY_DROPS: AtomicUsize = AtomicUsize::new(0);

impl<'de> Deserialize<'de> for Nosy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer)?;
        let records = NOSY.with_borrow(|nosy| nosy.clone().expect("set by the test"));
        assert_eq!(records.ids().len(), 1);
        Ok(Self(records))
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        let _ = self.0.ids();
        NOSY_DROPS.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn application_code_never_runs_under_the_lock() {
    let server = MuteServer::start();
    let client = server.client();
    let records = client
        .channel("board:main")
        .expect("a good name")
        .collection::<Nosy>("nosy");
    NOSY.set(Some(records.clone()));
    let _ = records.put("a", json!({})).expect("taken");
    let mut changes = records.changes();
    assert!(records.get("a").expect("anything fits").is_some());
    // The change lets go of the only decoded record.
    let _ = records.set("a", json!({"x": 1})).expect("taken");
    within("the change is told", changes.next()).await;
    within("the old record is dropped", async {
        while NOSY_DROPS.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    NOSY.take();
}

#[tokio::test]
async fn after_close_nothing_waits_and_nothing_is_taken() {
    let server = MuteServer::start();
    let client = server.client();
    let channel = client.channel("board:main").expect("a good name");
    let cards = channel.collection::<serde_json::Value>("cards");
    let mut changes = cards.changes();
    let mut events = channel.events();
    let put = cards.put("a", json!({})).expect("taken");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.ready().await }
    });
    within("close", client.close()).await;
    within("close again", client.close()).await;

    assert_eq!(client.connection().borrow().phase, ConnectionPhase::Closed);
    let error = within("the mutation", put.committed())
        .await
        .expect_err("nobody decided it");
    assert_eq!(error.code(), "cancelled");
    assert_eq!(put.status(), MutationStatus::Cancelled);
    let mut told = Vec::new();
    while let Some(event) = within("events end", events.next()).await {
        told.push(event);
    }
    let id = put.id();
    assert!(id.is_some(), "the store had the row");
    assert!(told.contains(&ChannelEvent::Cancelled { id }), "{told:?}");
    let error = within("ready", waiting)
        .await
        .expect("no panic")
        .expect_err("closed");
    assert!(matches!(error, ReadyError::Disconnected { .. }));
    within("changes end", async {
        while changes.next().await.is_some() {}
    })
    .await;
    within("events end", async {
        while events.next().await.is_some() {}
    })
    .await;
    let mut late = cards.changes();
    assert_eq!(within("a late stream ends", late.next()).await, None);
    assert_eq!(
        cards.put("b", json!({})).expect_err("closed"),
        MutateError::Closed
    );
    assert!(client.channel("board:other").is_err());
    client.connect();
    client.network(NetworkHint::Online);
    assert_eq!(client.connection().borrow().phase, ConnectionPhase::Closed);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_client() {
    let server = MuteServer::start();
    let client = server.client();
    let mut connection = client.connection();
    let channel = client.channel("board:main").expect("a good name");
    drop(client);
    let cards = channel.collection::<serde_json::Value>("cards");
    drop(channel);
    let put = cards
        .put("a", json!({}))
        .expect("the collection keeps the client");
    drop(cards);
    assert_eq!(put.status(), MutationStatus::Queued);
    drop(put);
    within("the client ends", async {
        // An error: the driver is gone, and its sender with it.
        while connection.changed().await.is_ok() {}
    })
    .await;
    assert_eq!(connection.borrow().phase, ConnectionPhase::Closed);
}

#[test]
fn outside_of_a_runtime_the_error_says_what_to_do() {
    let error = Client::builder("http://127.0.0.1:1")
        .token("t")
        .build()
        .expect_err("there is no runtime");
    assert!(matches!(error, BuildError::NoRuntime));
    assert!(error.to_string().contains("runtime"), "{error}");

    let error = Client::builder("http://127.0.0.1:1")
        .build()
        .expect_err("no token");
    assert!(matches!(error, BuildError::NoToken));
    let error = Client::builder("127.0.0.1:1")
        .token("t")
        .build()
        .expect_err("no scheme");
    assert!(matches!(error, BuildError::Url(_)), "{error}");
}

#[test]
fn when_its_runtime_goes_nobody_waits_for_ever() {
    let server = MuteServer::start();
    let home = tokio::runtime::Runtime::new().expect("a runtime");
    let address = server.0.local_addr().expect("an address");
    let client = Client::builder(format!("ws://{address}"))
        .token("t")
        .runtime(home.handle().clone())
        .build()
        .expect("a runtime was given");
    let cards: Collection<serde_json::Value> = client
        .channel("board:main")
        .expect("a good name")
        .collection("cards");
    let put = cards.put("a", json!({})).expect("taken");
    home.shutdown_timeout(Duration::from_secs(5));

    let elsewhere = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    elsewhere.block_on(async {
        let error = within("the mutation", put.committed())
            .await
            .expect_err("nobody decided it");
        assert_eq!(error.code(), "cancelled");
        within("close", client.close()).await;
    });
}

#[tokio::test]
async fn a_record_is_shared_between_readers_on_many_threads() {
    let server = MuteServer::start();
    let client = server.client();
    let cards: Collection<serde_json::Value> = client
        .channel("board:main")
        .expect("a good name")
        .collection("cards");
    let _ = cards.put("a", json!({"n": 0})).expect("taken");
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let cards = cards.clone();
            std::thread::spawn(move || {
                let mut last = 0;
                while last < 200 {
                    let card = cards.get("a").expect("it fits").expect("it is there");
                    let n = card["n"].as_i64().expect("an integer");
                    assert!(n >= last, "a reader never sees an older state");
                    last = n;
                }
            })
        })
        .collect();
    for _ in 0..200 {
        let _ = cards.increment("a", "n", 1).expect("taken");
    }
    for reader in readers {
        reader.join().expect("no reader saw time go backwards");
    }
    let first = cards.get("a").expect("it fits").expect("it is there");
    let second = cards.get("a").expect("it fits").expect("it is there");
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn what_was_not_sent_can_be_taken_back_and_takes_what_comes_after_along() {
    let server = MuteServer::start();
    let client = server.client();
    let board = client.channel("board:main").expect("a good name");
    let cards: Collection<serde_json::Value> = board.collection("cards");
    let first = cards.put("a", json!({"title": "x"})).expect("taken");
    let second = board
        .batch(|batch| {
            batch.put("cards", "b", json!({"title": "y"})).after(&first);
        })
        .expect("taken");
    let kept = cards.put("c", json!({"title": "z"})).expect("taken");
    first.cancel().expect("it was not sent");
    assert_eq!(first.cancel(), Err(CancelError::Ended));
    let ended = within("it ended", first.committed()).await;
    assert_eq!(ended, Err(MutationError::Cancelled));
    let failed = within("it ended", second.committed()).await;
    assert_eq!(failed.expect_err("no dependency").code(), "dep_failed");
    assert_eq!(kept.status(), MutationStatus::Queued);
    assert_eq!(cards.ids().len(), 1);

    let other = server.client();
    let refused = other
        .channel("board:main")
        .expect("a good name")
        .batch(|batch| {
            batch.delete("cards", "a").after(&kept);
        });
    assert!(matches!(refused, Err(MutateError::UnknownDependency)));
}

#[tokio::test]
async fn of_one_key_only_the_latest_waits_for_the_server() {
    let server = MuteServer::start();
    let client = server.client();
    let board = client.channel("board:main").expect("a good name");
    let moves = [1, 2, 3].map(|at| {
        let moved = board.batch(|batch| {
            batch.put("cards", "a", json!({"at": at})).coalesce("drag");
        });
        moved.expect("taken")
    });
    for superfluous in &moves[..2] {
        let ended = within("it ended", superfluous.committed()).await;
        assert_eq!(ended, Err(MutationError::Cancelled));
    }
    assert_eq!(moves[2].status(), MutationStatus::Queued);
    let cards: Collection<serde_json::Value> = board.collection("cards");
    assert_eq!(cards.json("a").as_deref(), Some(r#"{"at":3}"#));
}

#[tokio::test]
async fn an_unsent_mutation_expires_when_its_time_is_over() {
    let server = MuteServer::start();
    let client = server.client();
    let board = client.channel("board:main").expect("a good name");
    let late = board.batch(|batch| {
        batch
            .put("cards", "a", json!({"title": "x"}))
            .ttl(Duration::from_millis(20));
    });
    let ended = within("it expired", late.expect("taken").committed()).await;
    assert_eq!(ended, Err(MutationError::Expired));
    let cards: Collection<serde_json::Value> = board.collection("cards");
    assert!(cards.ids().is_empty());
}

#[tokio::test]
async fn a_demand_that_nobody_can_judge_is_refused_in_the_call() {
    let server = MuteServer::start();
    let client = server.client();
    let board = client.channel("board:main").expect("a good name");
    let refused = board.batch(|batch| {
        batch
            .set("cards", "a", json!({"title": "x"}))
            .require_unchanged("cards", "a");
    });
    let text = refused.expect_err("there is no view yet").to_string();
    assert!(text.contains("await ready()"), "{text}");
}

#[tokio::test]
async fn a_record_that_does_not_fit_is_an_error_in_its_own_place() {
    #[derive(Debug, Deserialize)]
    struct Card {
        title: String,
    }

    let server = MuteServer::start();
    let client = server.client();
    let cards: Collection<Card> = client
        .channel("board:main")
        .expect("a good name")
        .collection("cards");
    for (id, record) in [
        ("a", json!({"title": "A"})),
        ("b", json!({"title": 7})),
        ("c", json!({"title": "C"})),
    ] {
        let _ = cards.put(id, record).expect("taken");
    }
    let read: Vec<_> = cards
        .all()
        .into_iter()
        .map(|(id, card)| (id, card.map(|card| card.title.clone())))
        .collect();
    let [(a, first), (b, second), (c, third)] = read.as_slice() else {
        panic!("three records: {read:?}");
    };
    assert_eq!((&**a, first.as_deref().ok()), ("a", Some("A")));
    assert_eq!((&**c, third.as_deref().ok()), ("c", Some("C")));
    let error = second.as_ref().expect_err("a number is no title");
    assert_eq!((&**b, error.id.as_str()), ("b", "b"));
}

#[tokio::test]
async fn changes_are_a_stream_like_any_other() {
    use futures_util::StreamExt;

    let server = MuteServer::start();
    let client = server.client();
    let channel = client.channel("board:main").expect("a good name");
    let cards: Collection<serde_json::Value> = channel.collection("cards");
    let counts = StreamExt::map(cards.changes(), |changes| match changes {
        Changes::Records(ids) => ids.len(),
        Changes::Lagged => usize::MAX,
    });
    for id in ["a", "b"] {
        let _ = cards.put(id, json!({})).expect("taken");
    }
    let first: Vec<usize> = within("a change", counts.take(1).collect()).await;
    assert!(matches!(first[..], [1 | 2]), "{first:?}");
}
