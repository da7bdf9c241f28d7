//! Channels are let go some time after their last handle, and slow readers are told what they missed.

use serde_json::json;
use tidewire::{ChannelEvent, ChannelStatus};
use tidewire_e2e::{Board, Broker, Server, until, within};

#[tokio::test]
async fn a_channel_outlives_its_last_handle_for_a_while() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;
    ben.channel
        .presence()
        .set(json!({"name": "Ben"}))
        .expect("small");
    until("ana sees ben", || {
        !ana.channel.presence().peers().is_empty()
    })
    .await;

    // Opened again within the linger: the view is still there.
    let Board {
        client,
        channel,
        cards,
    } = ben;
    let put = cards
        .put("a", json!({"title": "a"}))
        .expect("the put is taken");
    within("the put is logged", put.committed())
        .await
        .expect("nothing refuses it");
    drop((channel, cards, put));
    let ben = Board::open(client);
    assert_eq!(ben.channel.status(), ChannelStatus::Live);
    assert_eq!(ben.card("a").title, "a");
    assert!(!ana.channel.presence().peers().is_empty(), "ben never left");

    // Let go for good: presence ends, the connection stays.
    let Board {
        client,
        channel,
        cards,
    } = ben;
    let last = cards
        .put("b", json!({"title": "b"}))
        .expect("the put is taken");
    drop((channel, cards));
    until("ben has left", || ana.channel.presence().peers().is_empty()).await;
    within(
        "an edit made before is logged all the same",
        last.committed(),
    )
    .await
    .expect("nothing refuses it");
    until("ana has it", || ana.cards.json("b").is_some()).await;

    let again = Board::open(client);
    within("the view is sent anew", again.channel.ready())
        .await
        .expect("the board can be read");
    again.converges_with(&ana).await;
}

#[tokio::test]
async fn a_slow_reader_of_events_is_told_how_many_it_missed() {
    const REFUSED: u64 = 400;
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let mut slow = ana.channel.events();
    let refused: Vec<_> = (0..REFUSED)
        .map(|_| {
            let set = ana.cards.set("absent", json!({"title": "x"}));
            set.expect("the server is asked")
        })
        .collect();
    for mutation in &refused {
        let error = within("the refusal", mutation.committed())
            .await
            .expect_err("there is no such record");
        assert_eq!(error.code(), "not_found");
    }
    let Some(ChannelEvent::Lagged { missed }) = within("the first item", slow.next()).await else {
        panic!("the reader lags and is not told");
    };
    let mut read = 0;
    while missed + read < REFUSED {
        match within("what is left", slow.next()).await {
            Some(ChannelEvent::Rejected { .. }) => read += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(missed + read, REFUSED, "each event is read or counted");
}
