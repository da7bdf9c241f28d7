//! `ready` means everything: a newcomer is handed a snapshot that may be a while old, and what came since
//! then follows. Until it is there, the channel is loading.

use serde_json::json;
use tidewire::ChannelStatus;
use tidewire_e2e::{Board, within};
use tidewire_server::TestServer;
use tidewire_server::faults::{Effect, EffectKind, FrameKind, Plan, Rule};

#[tokio::test]
async fn a_newcomer_is_ready_with_every_record() {
    const BATCHES: usize = 200;
    const BATCH: usize = 100;
    let server = TestServer::start().await;
    // The board is encoded now, for this first visitor, and handed to the next ones.
    let writer = Board::join(&server.url(), "writer").await;
    let mut last = None;
    for batch in 0..BATCHES {
        let fill = |records: &mut tidewire::Batch| {
            for at in 0..BATCH {
                let id = format!("d{}", batch * BATCH + at);
                records.put("docs", &id, json!({ "at": at }));
            }
        };
        last = Some(writer.channel.batch(fill).expect("taken"));
    }
    let last = last.expect("there are batches");
    within("the last batch is logged", last.committed())
        .await
        .expect("nothing refuses it");
    let late = Board::join(&server.url(), "late").await;
    assert_eq!(late.channel.status(), ChannelStatus::Live);
    let ids = late.channel.collection::<serde_json::Value>("docs").ids();
    assert_eq!(ids.len(), BATCHES * BATCH);
}

#[tokio::test]
async fn while_its_patches_are_on_the_way_a_newcomer_is_loading() {
    let server = TestServer::start().await;
    let writer = Board::join(&server.url(), "writer").await;
    let put = |at: i64| {
        let id = format!("d{at}");
        writer.cards.put(&id, json!({"title": "x", "count": at}))
    };
    for at in 0..5 {
        within("it is logged", put(at).expect("taken").committed())
            .await
            .expect("nothing refuses it");
    }
    let slow = Rule::new("slow", Effect::Delay { ms: 500 }).frames([FrameKind::Patch]);
    let faults = server.faults();
    faults.set(Plan::new(1).rule(slow)).expect("a good plan");
    let late = Board::join(&server.url(), "late").await;
    assert!(faults.count_of(EffectKind::Delay) > 0, "nothing was late");
    assert_eq!(late.channel.status(), ChannelStatus::Live);
    for at in 0..5 {
        assert_eq!(late.card(&format!("d{at}")).count, at);
    }
}
