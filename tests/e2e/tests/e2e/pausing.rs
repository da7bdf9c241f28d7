//! Channels that are paused for a while, and programs that are frozen.

use serde_json::json;
use tidewire::{ChannelStatus, ConnectionPhase, NetworkHint};
use tidewire_e2e::{Board, Broker, Server, until, within};

#[tokio::test]
async fn a_paused_channel_leaves_the_others_and_catches_up_afterwards() {
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

    ben.channel.pause();
    assert_eq!(ben.channel.status(), ChannelStatus::Stale);
    until("ana no longer sees ben", || {
        ana.channel.presence().peers().is_empty()
    })
    .await;
    let theirs = ana
        .cards
        .put("theirs", json!({"title": "x"}))
        .expect("the put is taken");
    within("ana's put is logged", theirs.committed())
        .await
        .expect("nothing refuses it");
    let mine = ben
        .cards
        .put("mine", json!({"title": "y"}))
        .expect("a paused channel takes changes");
    assert!(ben.cards.json("mine").is_some(), "it shows at once");
    assert!(ben.cards.json("theirs").is_none(), "nothing comes");

    ben.channel.resume();
    within("ben's put is logged", mine.committed())
        .await
        .expect("nothing refuses it");
    until("both have both", || {
        ben.cards.json("theirs").is_some() && ana.cards.json("mine").is_some()
    })
    .await;
    until("ana sees ben again", || {
        !ana.channel.presence().peers().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_frozen_program_leaves_at_once_and_is_back_at_once() {
    let server = Server::start(&Broker::Memory).await;
    let ana = Board::join(&server.url(), "ana").await;
    let mut connection = ana.client.connection();
    ana.client.network(NetworkHint::Frozen);
    let state = within(
        "it leaves",
        connection.wait_for(|state| state.phase == ConnectionPhase::Waiting),
    )
    .await
    .expect("the client lives")
    .clone();
    assert_eq!(state.reason.map(|reason| reason.code()), Some("suspended"));
    let put = ana
        .cards
        .put("a", json!({"title": "x"}))
        .expect("the put is taken");
    ana.client.network(NetworkHint::Resumed);
    within("it is logged", put.committed())
        .await
        .expect("nothing refuses it");
}
