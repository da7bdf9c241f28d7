//! Servers die, drain, and forget; the applications go on.

use serde_json::json;
use tidewire::{ChannelEvent, ChannelStatus, ConnectionPhase, MutationStatus};
use tidewire_e2e::{Board, Broker, Front, Server, until, within};

/// Counts a card up `times` times, without waiting.
fn count(board: &Board, id: &str, times: i64) -> Vec<tidewire::Mutation> {
    (0..times)
        .map(|_| {
            board
                .cards
                .increment(id, "count", 1)
                .expect("the edit is taken")
        })
        .collect()
}

async fn all_committed(mutations: &[tidewire::Mutation]) {
    for mutation in mutations {
        within("every edit is decided", mutation.committed())
            .await
            .expect("nothing refuses these edits");
    }
}

async fn phase(board: &Board, wanted: ConnectionPhase) {
    let mut connection = board.client.connection();
    within(
        wanted.name(),
        connection.wait_for(|state| state.phase == wanted),
    )
    .await
    .expect("the client lives");
}

/// Takes what a stream of events holds by now.
fn events_so_far(events: &mut tidewire::EventStream) -> Vec<ChannelEvent> {
    use futures_util::{FutureExt, StreamExt};
    std::iter::from_fn(|| StreamExt::next(events).now_or_never().flatten()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_with_a_disk_keeps_everything_and_applications_see_a_pause() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Broker::Disk(directory.path().into());
    let mut server = Server::start(&disk).await;
    let front = Front::before(server.address()).await;
    let ana = Board::join(&front.url(), "ana").await;
    let ben = Board::join(&front.url(), "ben").await;
    let mut events = ana.channel.events();
    let put = ana
        .cards
        .put("a", json!({"title": "kept", "count": 0}))
        .expect("the put is taken");
    all_committed(&[put]).await;
    let epoch = ana.channel.cursor().expect("there is a view").epoch;

    let mut mutations = Vec::new();
    for _ in 0..3 {
        // Edits under way when the server dies, while it is dead, and after.
        mutations.extend(count(&ana, "a", 20));
        mutations.extend(count(&ben, "a", 20));
        front.lead_to(None);
        server.kill().await;
        phase(&ana, ConnectionPhase::Waiting).await;
        let title = ana.card("a").title;
        assert_eq!(title, "kept", "the view stays through the outage");
        mutations.extend(count(&ana, "a", 10));
        mutations.extend(count(&ben, "a", 10));
        server = Server::start(&disk).await;
        front.lead_to(Some(server.address()));
        phase(&ana, ConnectionPhase::Connected).await;
    }
    all_committed(&mutations).await;
    ana.converges_with(&ben).await;
    assert_eq!(ana.card("a").count, 3 * 60, "each edit counts once");
    let cursor = ana.channel.cursor().expect("there is a view");
    assert_eq!(cursor.epoch, epoch, "the history goes on");

    let late = Board::join(&front.url(), "late").await;
    late.converges_with(&ana).await;
    for event in events_so_far(&mut events) {
        assert!(
            matches!(event, ChannelEvent::Status(_) | ChannelEvent::Recovered(_)),
            "nothing else is news to the application: {event:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_opens_an_epoch_and_says_what_is_lost() {
    let before = tempfile::tempdir().expect("a temporary directory");
    let after = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(&Broker::Disk(before.path().into())).await;
    let front = Front::before(server.address()).await;
    let ana = Board::join(&front.url(), "ana").await;
    let ben = Board::join(&front.url(), "ben").await;
    let mut events = ana.channel.events();
    let old = ana
        .cards
        .put("old", json!({"title": "lost with the disk"}))
        .expect("the put is taken");
    all_committed(std::slice::from_ref(&old)).await;
    ben.converges_with(&ana).await;
    let had = ana.channel.cursor().expect("there is a view");

    front.lead_to(None);
    server.kill().await;
    phase(&ana, ConnectionPhase::Waiting).await;
    let new = ana
        .cards
        .put("new", json!({"title": "written in the outage"}))
        .expect("the put is taken");
    let server = Server::start(&Broker::Disk(after.path().into())).await;
    front.lead_to(Some(server.address()));

    let (from, to) = loop {
        match within("history_lost", events.next()).await {
            Some(ChannelEvent::HistoryLost { from, to }) => break (from, to),
            Some(_) => {}
            None => panic!("the client lives"),
        }
    };
    assert_eq!(from, had);
    assert!(
        to.epoch > from.epoch,
        "{to:?} is no later epoch than {from:?}"
    );
    until("the lost edit is reported", || {
        old.status() == MutationStatus::Lost
    })
    .await;
    let error = within("the outcome changed", old.committed())
        .await
        .expect_err("it is lost");
    assert_eq!(error.code(), "lost");
    all_committed(&[new]).await;
    ana.converges_with(&ben).await;
    assert_eq!(
        ana.cards.json("old"),
        None,
        "the new history does not have it"
    );
    assert_eq!(ben.card("new").title, "written in the outage");
    let id = old.id().expect("it was numbered");
    let told = events_so_far(&mut events);
    assert!(
        told.contains(&ChannelEvent::Lost { id: Some(id) }),
        "the channel's events name the lost edit: {told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_server_hands_its_clients_to_the_next_without_loss() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let disk = Broker::Disk(directory.path().into());
    let server = Server::start(&disk).await;
    let front = Front::before(server.address()).await;
    let ana = Board::join(&front.url(), "ana").await;
    let ben = Board::join(&front.url(), "ben").await;
    let put = ana
        .cards
        .put("a", json!({"title": "kept", "count": 0}))
        .expect("the put is taken");
    all_committed(&[put]).await;

    let mut mutations = count(&ana, "a", 50);
    front.lead_to(None);
    let status = server.drain().await;
    assert_eq!(status.code(), Some(0), "a drain ends with 0");
    mutations.extend(count(&ben, "a", 50));
    let next = Server::start(&disk).await;
    front.lead_to(Some(next.address()));
    all_committed(&mutations).await;
    ana.converges_with(&ben).await;
    assert_eq!(ana.card("a").count, 100, "each edit counts once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_links_cost_a_pause_and_nothing_else() {
    let server = Server::start(&Broker::Memory).await;
    let front = Front::before(server.address()).await;
    let ana = Board::join(&front.url(), "ana").await;
    let ben = Board::join(&server.url(), "ben").await;
    let put = ana
        .cards
        .put("a", json!({"title": "kept", "count": 0}))
        .expect("the put is taken");
    all_committed(&[put]).await;

    let mut mutations = Vec::new();
    for _ in 0..10 {
        mutations.extend(count(&ana, "a", 10));
        front.cut();
        mutations.extend(count(&ben, "a", 5));
        phase(&ana, ConnectionPhase::Connected).await;
    }
    all_committed(&mutations).await;
    ana.converges_with(&ben).await;
    assert_eq!(ana.card("a").count, 150, "each edit counts once");
    assert_eq!(ana.channel.status(), ChannelStatus::Live);
}
