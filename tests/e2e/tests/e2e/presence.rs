//! Who is here.

use serde_json::json;
use tidewire_e2e::{Board, Broker, Front, Server, json_client, soon, soon_until};

#[tokio::test]
async fn peers_see_each_other_come_change_and_go() {
    let server = Server::start(&Broker::Memory).await;
    let front = Front::before(server.address()).await;
    let ana = Board::join(&server.url(), "ana").await;
    let ben = Board::join_as(json_client(&front.url(), "ben")).await;
    let mut news = ana.channel.presence().changes();

    ben.channel
        .presence()
        .set(json!({"name": "Ben", "cursor": {"x": 0.25, "y": 0.5}}))
        .expect("small enough");
    soon("ana hears of ben", news.next()).await;
    soon_until("ana sees ben", || {
        !ana.channel.presence().peers().is_empty()
    })
    .await;
    let peers = ana.channel.presence().peers();
    assert_eq!(peers[0].principal, "ben");
    let data: serde_json::Value = peers[0].read().expect("JSON");
    assert_eq!(data["cursor"]["x"], 0.25);
    assert!(
        ben.channel.presence().peers().is_empty(),
        "oneself is no peer"
    );

    // A broken link takes presence with it, some seconds later; the next link brings it back.
    front.lead_to(None);
    front.cut();
    soon_until("ben is gone", || ana.channel.presence().peers().is_empty()).await;
    front.lead_to(Some(server.address()));
    soon_until("ben is back", || !ana.channel.presence().peers().is_empty()).await;

    ben.channel.presence().clear().expect("the channel is open");
    soon_until("ben has left", || ana.channel.presence().peers().is_empty()).await;

    let error = ben
        .channel
        .presence()
        .set("x".repeat(5000))
        .expect_err("over 4 KiB");
    assert!(error.to_string().contains("limit"), "{error}");
}
