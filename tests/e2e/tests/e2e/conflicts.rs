//! Preconditions with a real server: who was first wins, and the other decides anew.

use serde_json::json;
use tidewire::{CommitError, ErrorCode, MutationError};
use tidewire_e2e::{Board, Broker, Card, Server, within};

#[tokio::test]
async fn of_two_who_take_the_same_card_one_gets_it_and_the_other_learns_who() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;
    let free = Card {
        title: "free".into(),
        count: 0,
    };
    let put = ana.cards.put("a", free).expect("the put is taken");
    within("the put is logged", put.committed())
        .await
        .expect("nobody minds");
    ben.converges_with(&ana).await;

    // Both see a free card.
    let take = |board: &Board, name: &str| {
        let taken = board.channel.batch(|batch| {
            batch
                .set("cards", "a", json!({ "title": name }))
                .require_eq("cards", "a", "title", "free");
        });
        taken.expect("it is taken")
    };
    let (first, second) = (take(&ana, "ana's"), take(&ben, "ben's"));
    let ends = [
        within("ana's is decided", first.committed()).await,
        within("ben's is decided", second.committed()).await,
    ];
    let winner = if ends[0].is_ok() { "ana's" } else { "ben's" };
    let lost: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
    let [MutationError::Rejected { code, current, .. }] = &lost[..] else {
        panic!("{lost:?}");
    };
    assert_eq!(*code, ErrorCode::Conflict);
    let title = current.as_ref().and_then(|card| card.field("title"));
    let expected = format!("\"{winner}\"");
    assert_eq!(title, Some(expected.as_bytes()));
    ana.converges_with(&ben).await;
    assert_eq!(ana.card("a").title, winner);
}

#[tokio::test]
async fn commit_tries_again_on_top_of_who_was_first_until_there_is_nothing_to_do() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let put = ana.cards.put("a", Card::default()).expect("taken");
    within("the put is logged", put.committed())
        .await
        .expect("nobody minds");

    let mut seen = Vec::new();
    let commit = ana.channel.commit(|batch, conflict| {
        let title = conflict
            .and_then(|conflict| conflict.current.as_ref()?.field("title"))
            .map_or_else(|| "wrong".to_owned(), |_| String::new());
        seen.push(conflict.map(|conflict| conflict.attempt));
        batch
            .set("cards", "a", json!({"title": "committed"}))
            .require_eq("cards", "a", "title", title);
    });
    within("it is committed", commit)
        .await
        .expect("the second attempt fits");
    assert_eq!(seen, [None, Some(1)]);
    assert_eq!(ana.card("a").title, "committed");

    let given_up = ana.channel.commit(|batch, conflict| {
        if conflict.is_none() {
            batch.delete("cards", "a").require_absent("cards", "a");
        }
    });
    let error = within("it ends", given_up).await.expect_err("it gave up");
    assert!(matches!(
        error,
        CommitError::Ended(MutationError::Rejected {
            code: ErrorCode::Conflict,
            ..
        })
    ));
    assert_eq!(ana.card("a").title, "committed");
}
