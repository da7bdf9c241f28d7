//! While nothing happens, server and client sleep: in each state in which they may rest for long.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tidewire::Client;
use tidewire_e2e::{Board, Broker, Effort, Front, Server, client, effort, program, soon, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a process is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// A spinning task takes a whole processor, or half of one on a busy machine. A timer that rings without need each
/// millisecond wakes a thousand times. Rest takes a heartbeat in 25 s; the rest of this is the runtime's own.
fn assert_at_rest(who: &str, effort: Effort) {
    assert!(effort.busy < 0.1, "{who} is busy: {effort:?}");
    assert!(effort.wake_ups < 100.0, "{who} is woken: {effort:?}");
}

/// A native client in a process of its own, which has seen the board.
async fn watcher(url: &str) -> (Child, u32) {
    let mut child = Command::new(program("quickstart-native"))
        .args(["--url", url, "--name", "ana", "watch"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let pid = child.id().expect("it was not waited for yet");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    within("it shows the board", async {
        loop {
            let line = lines.next_line().await.expect("it can be read");
            if line.expect("it lives").contains("A card") {
                return;
            }
        }
    })
    .await;
    // Whoever prints must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, pid)
}

async fn with_a_card(server: &Server) -> Board {
    let board = Board::join(&server.url(), "owner").await;
    let columns = board.channel.collection::<()>("columns");
    let column = columns.put("todo", json!({"title": "To do", "order": 1}));
    let card = json!({"title": "A card", "column": "todo", "order": 1, "by": "owner"});
    for put in [column, board.cards.put("c1", card)] {
        let put = put.expect("the put is taken");
        within("the put is logged", put.committed())
            .await
            .expect("nothing refuses it");
    }
    board
}

async fn rests(broker: &Broker) {
    let server = Server::start(broker).await;
    let owner = with_a_card(&server).await;
    // Channels in every state: with readers, with presence, left, paused, refused in part.
    let mut kept: Vec<Client> = Vec::new();
    for at in 0..10 {
        let client = client(&server.url(), &format!("reader{at}"));
        for channel in 0..10 {
            let channel = client
                .channel(&format!("board:{channel}"))
                .expect("a good name");
            within("its view", channel.ready()).await.expect("readable");
            if at % 2 == 0 {
                channel
                    .presence()
                    .set(json!({"at": at}))
                    .expect("small enough");
            }
            if at == 3 {
                channel.pause();
            }
        }
        kept.push(client);
    }
    owner.channel.pause();
    let waits = owner
        .cards
        .set("c1", json!({"title": "waits"}))
        .expect("taken");
    let (mut child, pid) = watcher(&server.url()).await;
    // What was begun settles: the clients' channels that were dropped linger for 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (client_effort, server_effort) =
        tokio::join!(effort(pid, WATCHED), effort(server.pid(), WATCHED));
    assert_at_rest("the client", client_effort);
    assert_at_rest("the server", server_effort);

    owner.channel.resume();
    soon("what waited is logged", waits.committed())
        .await
        .expect("nothing refuses it");
    child.kill().await.expect("an own child");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_readers_and_a_client_of_it_rest() {
    rests(&Broker::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_with_a_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    rests(&Broker::Disk(directory.path().into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_server_is_away_rests_between_attempts() {
    let server = Server::start(&Broker::Memory).await;
    let _owner = with_a_card(&server).await;
    let front = Front::before(server.address()).await;
    let (mut child, pid) = watcher(&front.url()).await;
    front.lead_to(None);
    front.cut();
    assert_at_rest("the client", effort(pid, WATCHED).await);
    child.kill().await.expect("an own child");
    assert_at_rest("the server", effort(server.pid(), WATCHED).await);
}
