//! Tokens: refused ones, late ones, and how often they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tidewire::{ConnectionPhase, ErrorCode, ReadyError, Reason, TokenError};
use tidewire_e2e::{Board, Broker, Front, Server, client_with, until, within};

#[tokio::test]
async fn a_wrong_token_is_terminal_and_typed() {
    let server = Server::start(&Broker::Memory).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let board = Board::open(client_with(&server.url(), move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok("nonsense".to_owned()) }
    }));
    let waiting = board
        .cards
        .put("a", json!({"title": "written meanwhile"}))
        .expect("taken before the refusal");

    let error = within("the refusal", board.channel.ready())
        .await
        .expect_err("the token is wrong");
    assert_eq!(error.code(), "unauthenticated");
    assert!(matches!(
        error,
        ReadyError::Disconnected {
            reason: Reason::Refused {
                code: ErrorCode::Unauthenticated,
                ..
            }
        }
    ));
    let mut connection = board.client.connection();
    within(
        "the connection is over",
        connection.wait_for(|state| state.phase == ConnectionPhase::Closed),
    )
    .await
    .expect("the client lives");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "no second attempt");

    within("the client closes", board.client.close()).await;
    let error = within("the mutation ends", waiting.committed())
        .await
        .expect_err("it was never sent");
    assert_eq!(error.code(), "cancelled");
}

#[tokio::test]
async fn after_signing_in_the_same_client_connects() {
    let server = Server::start(&Broker::Memory).await;
    let signed_in = Arc::new(AtomicUsize::new(0));
    let asked = signed_in.clone();
    let board = Board::open(client_with(&server.url(), move || {
        let token = match asked.load(Ordering::Relaxed) {
            0 => Err(TokenError {
                retryable: false,
                detail: "nobody is signed in".into(),
            }),
            _ => Ok("dev:ana".to_owned()),
        };
        async { token }
    }));
    let error = within("the refusal", board.channel.ready())
        .await
        .expect_err("there is no token");
    assert_eq!(error.code(), "token");
    assert!(error.to_string().contains("nobody is signed in"), "{error}");

    signed_in.store(1, Ordering::Relaxed);
    board.client.connect();
    let mut connection = board.client.connection();
    within(
        "it connects",
        connection.wait_for(|state| state.phase == ConnectionPhase::Connected),
    )
    .await
    .expect("the client lives");
    within("the first view", board.channel.ready())
        .await
        .expect("now it may");
}

#[tokio::test]
async fn the_token_provider_is_called_once_per_connect() {
    let server = Server::start(&Broker::Memory).await;
    let front = Front::before(server.address()).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let board = Board::open(client_with(&front.url(), move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok("dev:ana".to_owned()) }
    }));
    within("the first view", board.channel.ready())
        .await
        .expect("the token is good");
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    let mut connection = board.client.connection();
    for connects in 2..=4 {
        connection.mark_unchanged();
        within("the cut is noticed", async {
            loop {
                front.cut();
                // Between two polls nothing is open that could be cut.
                let noticed = tokio::time::timeout(Duration::from_secs(2), connection.changed());
                if let Ok(changed) = noticed.await {
                    break changed;
                }
            }
        })
        .await
        .expect("the client lives");
        within(
            "it connects again",
            connection.wait_for(|state| state.phase == ConnectionPhase::Connected),
        )
        .await
        .expect("the client lives");
        assert_eq!(calls.load(Ordering::Relaxed), connects);
    }
}

#[tokio::test]
async fn a_token_provider_that_fails_or_panics_is_asked_again() {
    let server = Server::start(&Broker::Memory).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let board = Board::open(client_with(&server.url(), move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 => Err(TokenError {
                    retryable: true,
                    detail: "the token service is down".into(),
                }),
                1 => panic!("a bug in the token provider (this panic belongs to the test)"),
                _ => Ok("dev:ana".to_owned()),
            }
        }
    }));
    within("the first view", board.channel.ready())
        .await
        .expect("the third answer is good");
    until("three calls", || calls.load(Ordering::Relaxed) == 3).await;
}
