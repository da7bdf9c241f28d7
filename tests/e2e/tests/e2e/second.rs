//! The second case: two channels at once, the other codec, more than one batch, more than a link may have unsent.

use serde_json::json;
use tidewire::{Client, Codec, Collection, ConnectionPhase};
use tidewire_e2e::{
    Broker, Card, Front, Server, client, json_client, soon, soon_until, until, within,
};

/// More than the 256 that travel in one push.
const EDITS: i64 = 300;

async fn cards(client: &Client, channel: &str) -> Collection<Card> {
    let channel = client.channel(channel).expect("a good name");
    within("the first view", channel.ready())
        .await
        .expect("it can be read");
    channel.collection("cards")
}

/// Two channels are edited in turn while nobody is connected; each gets its own, in order and once.
async fn edits_two(codec: Codec) {
    let server = Server::start(&Broker::Memory).await;
    let front = Front::before(server.address()).await;
    let ana = match codec {
        Codec::Json => json_client(&front.url(), "ana"),
        Codec::Protobuf => client(&front.url(), "ana"),
    };
    let ben = match codec {
        Codec::Json => client(&server.url(), "ben"),
        Codec::Protobuf => json_client(&server.url(), "ben"),
    };
    let names = ["board:one", "board:two"];
    let mut mine = Vec::new();
    let mut theirs = Vec::new();
    for name in names {
        mine.push(cards(&ana, name).await);
        theirs.push(cards(&ben, name).await);
    }
    front.lead_to(None);
    front.cut();
    let mut connection = ana.connection();
    within(
        "ana notices",
        connection.wait_for(|state| state.phase != ConnectionPhase::Connected),
    )
    .await
    .expect("the client lives");

    let mut mutations = Vec::new();
    for at in 0..EDITS {
        for (which, cards) in mine.iter().enumerate() {
            let card = json!({"title": format!("{which}/{at}"), "count": at});
            mutations.push(cards.put("same", card).expect("taken"));
            mutations.push(
                cards
                    .put(&format!("n{at}"), json!({"title": ""}))
                    .expect("taken"),
            );
            mutations.push(cards.increment("same", "count", 1).expect("taken"));
        }
    }
    front.lead_to(Some(server.address()));
    for mutation in &mutations {
        within("it is logged", mutation.committed())
            .await
            .expect("nothing refuses it");
    }
    for (which, cards) in theirs.iter().enumerate() {
        soon_until("ben has them all", || {
            cards.ids().len() == 1 + EDITS as usize
        })
        .await;
        let last = cards.get("same").expect("it fits").expect("it is there");
        assert_eq!(last.title, format!("{which}/{}", EDITS - 1));
        assert_eq!(
            last.count, EDITS,
            "the last put, and one increment on top of it"
        );
    }

    // One channel's edits tell the other's readers nothing. Who begins to listen may still hear of what he has
    // seen already, so he listens for a mark first.
    let mut news = theirs[1].changes();
    let mark = mine[1]
        .put("mark", json!({"title": "mark"}))
        .expect("taken");
    soon("it is logged", mark.committed())
        .await
        .expect("nothing refuses it");
    loop {
        match soon("news of the mark", news.next()).await {
            Some(tidewire::Changes::Records(ids)) if ids.iter().any(|id| &**id == "mark") => break,
            Some(_) => {}
            None => panic!("the news ended"),
        }
    }
    let edit = mine[0]
        .set("same", json!({"title": "news"}))
        .expect("taken");
    soon("it is logged", edit.committed())
        .await
        .expect("nothing refuses it");
    soon_until("ben sees it", || {
        theirs[0]
            .get("same")
            .is_ok_and(|card| card.is_some_and(|card| card.title == "news"))
    })
    .await;
    let other = mine[1].delete("n0").expect("taken");
    soon("it is logged", other.committed())
        .await
        .expect("nothing refuses it");
    let first = soon("news of the second channel", news.next()).await;
    assert_eq!(first, Some(tidewire::Changes::Records(vec!["n0".into()])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_channels_keep_their_edits_apart_in_json() {
    edits_two(Codec::Json).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_channels_keep_their_edits_apart_in_protobuf() {
    edits_two(Codec::Protobuf).await;
}

/// A link is given up when too much waits to be sent, 32 MiB. What was sent waits no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_may_send_more_in_its_life_than_it_may_have_unsent() {
    const BYTES: usize = 60_000;
    const MIB: usize = 1024 * 1024;
    let server = Server::start(&Broker::Memory).await;
    let ana = client(&server.url(), "ana");
    let cards = cards(&ana, "board:large").await;
    let since = ana.connection().borrow().since;
    let title = "x".repeat(BYTES);
    let mut sent = 0;
    while sent < 34 * MIB {
        let batch: Vec<_> = (0..20)
            .map(|_| {
                cards
                    .put("large", json!({ "title": title }))
                    .expect("there is room")
            })
            .collect();
        for mutation in batch {
            within("it is logged", mutation.committed())
                .await
                .expect("nothing refuses it");
            sent += BYTES;
        }
    }
    until("it is at rest", || !cards.is_pending("large")).await;
    let connection = ana.connection().borrow().clone();
    assert_eq!(connection.phase, ConnectionPhase::Connected);
    assert_eq!(connection.since, since, "it is the first link still");
}
