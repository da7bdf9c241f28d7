//! `first-data`: from a new native client until it has the channel's record, by what stands between it and the server.
//! Server and client are in this process, with a network of 10 ms each way between them: the time is that of round trips,
//! and of how long the chain of transports waits.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use tidewire::{Client, Config, TransportKind};
use tidewire_chaos_proxy::{ChaosProxy, Conditions, Direction};
use tidewire_core::TransportVerdict;
use tidewire_core::time::UnixTime;
use tidewire_middleboxes::{Middlebox, Row as Box};
use tidewire_server::TestServer;
use tidewire_server::faults::Wall;

use crate::{Row, Scale};

/// One way to the server.
struct Way {
    name: &'static str,
    websocket: Option<Wall>,
    sse: Option<Wall>,
    /// Through the box of this row.
    through: Option<&'static str>,
    /// The client was here before.
    is_remembered: bool,
    goal: &'static str,
}

const DIRECT: Way = Way {
    name: "direct",
    websocket: None,
    sse: None,
    through: None,
    is_remembered: false,
    goal: "",
};

const RESETS: &str = "WebSockets are reset";
const SWALLOWS: &str = "WebSockets open and swallow every frame";

const WAYS: [Way; 6] = [
    DIRECT,
    Way {
        name: "reset",
        through: Some(RESETS),
        goal: "<= 300 ms",
        ..DIRECT
    },
    Way {
        name: "refused",
        websocket: Some(Wall::Refuses),
        goal: "<= 300 ms",
        ..DIRECT
    },
    Way {
        name: "swallowed",
        through: Some(SWALLOWS),
        goal: "<= 2000 ms",
        ..DIRECT
    },
    Way {
        name: "stream-collected",
        websocket: Some(Wall::Refuses),
        sse: Some(Wall::Collects),
        goal: "<= 2000 ms",
        ..DIRECT
    },
    Way {
        name: "remembered",
        through: Some(RESETS),
        is_remembered: true,
        goal: "<= 1.2",
        ..DIRECT
    },
];

/// Measures a row for each way but the direct one, which is their baseline.
///
/// Errors: no client gets through in time.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let times = runtime.block_on(measure(scale.pick(15, 1)))?;
    let [direct, rest @ ..] = times;
    let rows = WAYS[1..].iter().zip(rest).map(|(way, ms)| {
        let name = format!("first-data/{}", way.name);
        Row::new(name, "ms", ms, direct, way.goal)
    });
    Ok(rows.collect())
}

/// The median of each way, in milliseconds; they take turns.
async fn measure(rounds: usize) -> anyhow::Result<[f64; WAYS.len()]> {
    let server = TestServer::start().await;
    let address: SocketAddr = server.url().trim_start_matches("http://").parse()?;
    let resets = Middlebox::start(Box::named(RESETS), &[address]).await;
    let swallows = Middlebox::start(Box::named(SWALLOWS), &[address]).await;
    let to_server = away(address).await?;
    let to_resets = away(resets.address()).await?;
    let to_swallows = away(swallows.address()).await?;
    write(server.url()).await?;
    let mut times = [const { Vec::new() }; WAYS.len()];
    for _ in 0..rounds {
        for (way, times) in WAYS.iter().zip(&mut times) {
            server
                .faults()
                .wall(TransportKind::WebSocket, way.websocket);
            server.faults().wall(TransportKind::Sse, way.sse);
            let network = match way.through {
                Some(SWALLOWS) => &to_swallows,
                Some(_) => &to_resets,
                None => &to_server,
            };
            let took = first_data(format!("http://{}", network.address()), way).await;
            times.push(took.with_context(|| way.name)?);
        }
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    }))
}

/// A network before an address. A reset comes through it.
async fn away(address: SocketAddr) -> anyhow::Result<ChaosProxy> {
    let network = ChaosProxy::start(address, 1).await?;
    network.set(Direction::Both, Conditions::default().latency(ONE_WAY))?;
    Ok(network)
}

const ONE_WAY: Duration = Duration::from_millis(10);

const CHANNEL: &str = "board:main";
const COLLECTION: &str = "cards";
const RECORD: &str = "first";

/// Puts there what everybody waits for.
async fn write(url: String) -> anyhow::Result<()> {
    let client = Client::builder(url).token("dev:bo").build()?;
    let cards = client.channel(CHANNEL)?.collection::<()>(COLLECTION);
    let put = cards.put(RECORD, serde_json::json!({"title": "data"}))?;
    tokio::time::timeout(Duration::from_secs(20), put.committed()).await??;
    client.close().await;
    Ok(())
}

async fn first_data(url: String, way: &Way) -> anyhow::Result<Duration> {
    let mut config = Config::default();
    if way.is_remembered {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        config.verdicts = vec![TransportVerdict {
            kind: TransportKind::WebSocket,
            until: UnixTime(u64::try_from(now)? + 60_000),
        }];
    }
    let start = Instant::now();
    let client = Client::builder(url)
        .token("dev:ana")
        .config(config)
        .build()?;
    let channel = client.channel(CHANNEL)?;
    tokio::time::timeout(Duration::from_secs(20), channel.ready()).await??;
    let data = channel.collection::<()>(COLLECTION).json(RECORD);
    let took = start.elapsed();
    ensure!(data.is_some(), "ready, and without the record");
    client.close().await;
    Ok(took)
}
