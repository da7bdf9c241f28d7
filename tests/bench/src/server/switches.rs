//! `switches`: two native clients change one channel while the network forces them from transport to transport. Each change
//! is a record of its own and one more on a counter: what has no record was missed, what the counter has beyond
//! the records was doubled. Server and clients are in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tidewire::{Channel, Client, Config, ConnectionPhase, TransportKind};
use tidewire_server::TestServer;
use tidewire_server::faults::{Action, Wall};
use tokio::time::{sleep, timeout};

use crate::{Row, Scale};

const CHANNEL: &str = "board:main";
const NAMES: [&str; 2] = ["ana", "bo"];

/// How long a switch, or a change, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client begins its next change so long after the last one was committed.
const BETWEEN_CHANGES: Duration = Duration::from_millis(5);

/// Measures both rows: what was missed and doubled, against all changes.
///
/// Errors: a client does not get through.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let switches = scale.pick(1000, 4);
    let runtime = tokio::runtime::Runtime::new()?;
    let counted = runtime.block_on(count(switches))?;
    let changes = counted.changes as f64;
    let row = |what, count: u64| {
        let name = format!("switches/{switches}-{what}");
        Row::new(name, "changes", count as f64, changes, "<= 0")
    };
    Ok(vec![
        row("missed", counted.missed),
        row("doubled", counted.doubled),
    ])
}

#[derive(Default)]
struct Counted {
    changes: u64,
    missed: u64,
    doubled: u64,
}

async fn count(switches: usize) -> anyhow::Result<Counted> {
    let server = TestServer::start().await;
    let clients = [client(&server, NAMES[0])?, client(&server, NAMES[1])?];
    let channels = [clients[0].channel(CHANNEL)?, clients[1].channel(CHANNEL)?];
    let over = Arc::new(AtomicBool::new(false));
    let mut changing = Vec::new();
    for (name, channel) in NAMES.into_iter().zip(&channels) {
        let counters = channel.collection::<()>("counters");
        let put = counters.put(name, serde_json::json!({"n": 0}))?;
        timeout(PATIENCE, put.committed()).await??;
        changing.push(tokio::spawn(change(
            name,
            channel.clone(),
            Arc::clone(&over),
        )));
    }
    force(&server, &clients, switches).await?;
    over.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for changing in changing {
        done.push(changing.await??);
    }
    // Whoever comes only now sees what the server has.
    let late = client(&server, "late")?;
    let late_channel = late.channel(CHANNEL)?;
    timeout(PATIENCE, late_channel.ready()).await??;
    let mut counted = Counted {
        changes: done.iter().sum(),
        ..Counted::default()
    };
    for channel in channels.iter().chain([&late_channel]) {
        arrive(channel, &late_channel).await?;
        for (name, done) in NAMES.into_iter().zip(&done) {
            let (records, counter) = seen(channel, name)?;
            counted.missed = counted.missed.max(done.saturating_sub(records));
            counted.doubled = counted.doubled.max(counter.saturating_sub(records));
        }
    }
    Ok(counted)
}

fn client(server: &TestServer, name: &str) -> anyhow::Result<Client> {
    let mut config = Config::default();
    // Nobody waits for long, so that there is little between two switches.
    config.retry_delay_base = Duration::from_millis(10);
    config.retry_delay_max = Duration::from_millis(100);
    config.climb_delay_base = Duration::from_millis(50);
    config.climb_delay_max = Duration::from_millis(200);
    config.verdict_ttl = Duration::from_millis(200);
    let client = Client::builder(server.url()).token(format!("dev:{name}"));
    Ok(client.config(config).build()?)
}

/// Makes one change after the other; how many.
async fn change(name: &str, channel: Channel, over: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        let change = channel.batch(|batch| {
            batch.put(name, &done.to_string(), serde_json::json!({"n": 1}));
            batch.increment("counters", name, "n", 1);
        })?;
        timeout(PATIENCE, change.committed()).await??;
        done += 1;
        sleep(BETWEEN_CHANGES).await;
    }
    Ok(done)
}

/// Forces all clients onto another transport, so many times.
async fn force(server: &TestServer, clients: &[Client], switches: usize) -> anyhow::Result<()> {
    let mut rng = fastrand::Rng::with_seed(switches as u64);
    let kinds = [
        TransportKind::WebSocket,
        TransportKind::Sse,
        TransportKind::LongPoll,
    ];
    let mut now = 0;
    for switch in 0..switches {
        let next = (now + rng.usize(1..kinds.len())) % kinds.len();
        let faults = server.faults();
        for (at, kind) in kinds.into_iter().enumerate() {
            faults.wall(kind, (at < next).then_some(Wall::Refuses));
        }
        // Down they are forced by a cut; up they go by themselves, or half of the time after a cut.
        if next > now || rng.bool() {
            // All may be between two links.
            faults.act(Action::Cut { principal: None }).await?;
        }
        for client in clients {
            let mut connection = client.connection();
            let there = connection.wait_for(|state| {
                state.phase == ConnectionPhase::Connected && state.transport == Some(kinds[next])
            });
            let there = timeout(PATIENCE, there).await;
            there.with_context(|| format!("switch {switch}: nothing over {:?}", kinds[next]))??;
        }
        now = next;
    }
    Ok(())
}

/// Waits until a view has got as far as another one.
async fn arrive(channel: &Channel, as_far_as: &Channel) -> anyhow::Result<()> {
    let arrives = async {
        while channel.cursor() != as_far_as.cursor() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, arrives)
        .await
        .context("a client does not get as far as another one")
}

/// The records of somebody's changes, and what they add up to.
fn seen(channel: &Channel, name: &str) -> anyhow::Result<(u64, u64)> {
    let records = channel.collection::<()>(name).ids().len();
    let counter = channel
        .collection::<serde_json::Value>("counters")
        .get(name)?;
    let counter = counter.and_then(|counter| counter["n"].as_u64());
    let counter = counter.context("the counter is gone")?;
    ensure!(counter > 0, "nothing was changed");
    Ok((records as u64, counter))
}
