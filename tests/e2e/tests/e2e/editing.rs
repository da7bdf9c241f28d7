//! Several people edit one board.

use serde_json::json;
use serde_json::value::RawValue;
use tidewire::MutationStatus;
use tidewire_e2e::{Board, Broker, Card, Server, client, json_client, soon, soon_until};

/// Four clients, one of which speaks JSON, make a few hundred edits of the same cards at once.
async fn edit_together(broker: &Broker) {
    const EDITS: i64 = 75;
    let server = Server::start(broker).await;
    let url = server.url();
    let first = Board::join(&url, "ana").await;
    for id in ["shared", "fought-over"] {
        let card = Card {
            title: "start".into(),
            count: 0,
        };
        let put = first.cards.put(id, card).expect("the put is taken");
        soon("the put is logged", put.committed())
            .await
            .expect("the put is committed");
    }
    let mut boards = vec![first];
    for name in ["ben", "cy"] {
        boards.push(Board::join(&url, name).await);
    }
    boards.push(Board::join_as(json_client(&url, "dee")).await);

    let mut mutations = Vec::new();
    for at in 0..EDITS {
        for (who, board) in boards.iter().enumerate() {
            let cards = &board.cards;
            let taken = "every edit is taken";
            mutations.push(cards.increment("shared", "count", 1).expect(taken));
            let title = json!({"title": format!("{who} at {at}")});
            mutations.push(cards.set("fought-over", title).expect(taken));
            let own = json!({"title": format!("{at}"), "count": at});
            mutations.push(
                cards
                    .put(&format!("own-{who}-{}", at % 5), own)
                    .expect(taken),
            );
        }
        tokio::task::yield_now().await;
    }
    for mutation in &mutations {
        soon("every edit is logged", mutation.committed())
            .await
            .expect("nothing refuses these edits");
        assert_eq!(mutation.status(), MutationStatus::Committed);
    }

    let late = Board::join(&url, "late").await;
    boards.push(late);
    for pair in boards.windows(2) {
        pair[0].converges_with(&pair[1]).await;
    }
    let people = i64::try_from(boards.len() - 1).expect("a few people");
    assert_eq!(
        boards[0].card("shared").count,
        EDITS * people,
        "each increment counts once"
    );
    assert_eq!(boards[0].cards.ids().len(), 2 + 5 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_edits_converge_byte_for_byte_with_the_memory_broker() {
    edit_together(&Broker::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_edits_converge_byte_for_byte_with_the_disk_broker() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    edit_together(&Broker::Disk(directory.path().into())).await;
}

#[tokio::test]
async fn an_edit_shows_at_once_and_is_pending_until_it_is_committed() {
    let server = Server::start(&Broker::Memory).await;
    let board = Board::open(client(&server.url(), "ana"));

    let put = board
        .cards
        .put("a", json!({"title": "before any connection"}))
        .expect("edits are taken before the first view");
    assert_eq!(board.card("a").title, "before any connection");
    assert!(board.cards.is_pending("a"));
    let id = put.id().expect("the memory store has the row at once");
    assert_eq!(id.n, 1);
    assert_eq!(id.channel.as_str(), "board:main");

    soon("the edit is logged", put.committed())
        .await
        .expect("nothing refuses it");
    assert!(!board.cards.is_pending("a"));
    assert_eq!(board.client.principal().as_deref(), Some("ana"));
}

#[tokio::test]
async fn values_travel_as_the_bytes_that_were_written() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;

    let raw = |text: &str| RawValue::from_string(text.into()).expect("JSON");
    let fields = std::collections::BTreeMap::from([
        ("wide", raw("18446744073709551615")),
        ("long", raw("0.1000000000000000055511151231257827e0")),
        ("title", raw("\"\\u00fc is not ü\"")),
    ]);
    let put = ana.cards.put("exact", &fields).expect("the put is taken");
    soon("the put is logged", put.committed())
        .await
        .expect("nothing refuses it");
    let expected = r#"{"long":0.1000000000000000055511151231257827e0,"title":"\u00fc is not ü","wide":18446744073709551615}"#;
    soon_until("the peer has the record", || {
        ben.cards.json("exact").is_some()
    })
    .await;
    assert_eq!(ana.cards.json("exact").as_deref(), Some(expected));
    assert_eq!(ben.cards.json("exact").as_deref(), Some(expected));
    assert_eq!(ben.card("exact").title, "ü is not ü");
}

#[tokio::test]
async fn a_record_is_decoded_once_per_change() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;
    let mut seen = ben.cards.changes();

    let put = ana
        .cards
        .put("a", json!({"title": "one"}))
        .expect("the put is taken");
    soon("ben hears of it", seen.next()).await;
    let first = ben.cards.get("a").expect("it fits").expect("it is there");
    let again = ben
        .cards
        .clone()
        .get("a")
        .expect("it fits")
        .expect("it is there");
    assert!(
        std::sync::Arc::ptr_eq(&first, &again),
        "the same decoded record"
    );

    soon("the put is logged", put.committed())
        .await
        .expect("nothing refuses it");
    let set = ana
        .cards
        .set("a", json!({"title": "two"}))
        .expect("the set is taken");
    soon("ben hears of the change", seen.next()).await;
    assert_eq!(ben.card("a").title, "two");
    assert_eq!(first.title, "one", "what was handed out does not change");

    // As a type that it does not fit, it is an error and nothing else.
    let numbers = ben.channel.collection::<i64>("cards");
    let error = numbers.get("a").expect_err("a card is no number");
    assert!(error.to_string().contains("cards/a"), "{error}");
    soon("the set is logged", set.committed())
        .await
        .expect("nothing refuses it");
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;

    let good = ana
        .channel
        .batch(|tx| {
            tx.put("cards", "a", json!({"title": "a"}))
                .put("cards", "b", json!({"title": "b"}))
                .increment("cards", "a", "count", 2);
        })
        .expect("the batch is taken");
    soon("the batch is logged", good.committed())
        .await
        .expect("nothing refuses it");
    ana.converges_with(&ben).await;
    assert_eq!(ben.card("a").count, 2);

    let bad = ana
        .channel
        .batch(|tx| {
            tx.put("cards", "c", json!({"title": "c"})).set(
                "cards",
                "absent",
                json!({"title": "nothing to set"}),
            );
        })
        .expect("the batch is taken");
    let error = soon("the batch is refused", bad.committed())
        .await
        .expect_err("one of its changes cannot be made");
    assert_eq!(error.code(), "not_found");
    assert!(!error.is_retryable());
    assert_eq!(ana.cards.json("c"), None, "nothing of it stays");
    ana.converges_with(&ben).await;

    let error = ana
        .channel
        .batch(|tx| {
            tx.put("cards", "d", json!({"title": "d"}))
                .put("cards", "e", json!(["no", "map"]));
        })
        .expect_err("a list is no record");
    assert_eq!(error.code(), "invalid");
    assert_eq!(ana.cards.json("d"), None, "nothing was changed");
}

#[tokio::test]
async fn a_mutation_over_the_limit_is_refused_in_the_call() {
    let server = Server::start(&Broker::Memory).await;
    let board = Board::join(&server.url(), "ana").await;
    let title = "x".repeat(70_000);
    let error = board
        .cards
        .put("a", json!({"title": title}))
        .expect_err("over 64 KiB");
    assert_eq!(error.code(), "too_large");
    assert_eq!(board.cards.json("a"), None);
}
