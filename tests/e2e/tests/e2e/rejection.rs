//! Refused edits: they show at once, and are gone with the reason.

use serde_json::json;
use tidewire::{ChannelEvent, ErrorCode, MutationError, ReadyError};
use tidewire_core::document::Rejection;
use tidewire_core::wire::ChangeKind;
use tidewire_e2e::{Board, within};
use tidewire_server::{Action, TestServer};

/// A server on which titles have at most 20 bytes, `board:shut` is closed and `reader` only reads.
async fn strict_server() -> TestServer {
    TestServer::start_with(|builder| {
        builder
            .validate("board", |_view, who, change| {
                let title = match &change.kind {
                    Some(ChangeKind::Put(record) | ChangeKind::Set(record)) => {
                        record.fields.iter().find(|field| field.name == "title")
                    }
                    _ => None,
                };
                match title {
                    Some(title) if title.value.len() > 20 => Err(Rejection::new(
                        ErrorCode::Refused,
                        format!("{}, keep titles under 20 bytes", who.name()),
                    )),
                    _ => Ok(()),
                }
            })
            .authorise(|who, channel, action| match action {
                Action::Write => who.name() != "reader",
                _ => channel.as_str() != "board:shut",
            })
    })
    .await
}

#[tokio::test]
async fn a_refused_edit_rolls_back_with_code_and_detail() {
    let server = strict_server().await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;
    let mut events = ana.channel.events();
    let fine = ana
        .cards
        .put("a", json!({"title": "short"}))
        .expect("the put is taken");
    within("the put is logged", fine.committed())
        .await
        .expect("nothing refuses it");

    let refused = ana
        .cards
        .set("a", json!({"title": "much too long for this board"}))
        .expect("the set is taken");
    let after = ana
        .cards
        .increment("a", "count", 1)
        .expect("the increment is taken");
    assert_eq!(
        ana.card("a").title,
        "much too long for this board",
        "it shows at once"
    );
    let id = refused.id().expect("it is numbered");

    let error = within("the refusal", refused.committed())
        .await
        .expect_err("it is too long");
    assert_eq!(
        error,
        MutationError::Rejected {
            code: ErrorCode::Refused,
            detail: "ana, keep titles under 20 bytes".into(),
            current: None,
        }
    );
    assert_eq!(error.code(), "refused");
    assert_eq!(ana.card("a").title, "short", "it is rolled back");
    within("what came after it is logged", after.committed())
        .await
        .expect("a refusal does not cascade");
    ana.converges_with(&ben).await;
    assert_eq!(ben.card("a").count, 1);
    assert_eq!(ben.card("a").title, "short");

    let told = loop {
        let event = within("the event", events.next()).await;
        let event = event.expect("the client lives");
        if matches!(event, ChannelEvent::Rejected { .. }) {
            break event;
        }
    };
    assert_eq!(
        told,
        ChannelEvent::Rejected {
            id: Some(id),
            code: ErrorCode::Refused,
            detail: "ana, keep titles under 20 bytes".into()
        }
    );
}

#[tokio::test]
async fn without_the_write_grant_edits_are_forbidden_and_reads_go_on() {
    let server = strict_server().await;
    let ana = Board::join(&server.url(), "ana").await;
    let reader = Board::join(&server.url(), "reader").await;
    let refused = reader
        .cards
        .put("a", json!({"title": "not mine"}))
        .expect("the put is taken");
    let error = within("the refusal", refused.committed())
        .await
        .expect_err("reader only reads");
    assert_eq!(error.code(), "forbidden");
    assert_eq!(reader.cards.json("a"), None, "it is rolled back");

    let put = ana
        .cards
        .put("b", json!({"title": "hers"}))
        .expect("the put is taken");
    within("the put is logged", put.committed())
        .await
        .expect("ana may write");
    reader.converges_with(&ana).await;
    assert_eq!(reader.card("b").title, "hers");
}

#[tokio::test]
async fn a_channel_that_may_not_be_read_fails_alone() {
    let server = strict_server().await;
    let ana = Board::join(&server.url(), "ana").await;
    let shut = ana.client.channel("board:shut").expect("the name is good");
    let error = within("the refusal", shut.ready())
        .await
        .expect_err("nobody may read it");
    assert!(
        matches!(
            error,
            ReadyError::Failed {
                code: ErrorCode::Forbidden,
                ..
            }
        ),
        "{error:?}"
    );
    let error = shut
        .collection::<()>("cards")
        .put("a", json!({}))
        .expect_err("a failed channel takes no edits");
    assert_eq!(error.code(), "forbidden");

    let put = ana
        .cards
        .put("a", json!({"title": "still fine"}))
        .expect("the other channel is open");
    within("the put is logged", put.committed())
        .await
        .expect("the other channel works");
}
