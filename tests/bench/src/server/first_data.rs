//! `first-data`: from a new native client until its channel is ready, by what stands between it and the server. Server and
//! client are in this process: the time is that of round trips, and of how long the chain of transports waits.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tidewire::{Client, Config, TransportKind};
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
    /// Through the box that lets WebSockets open, and nothing through them.
    is_swallowed: bool,
    /// The client was here before.
    is_remembered: bool,
    goal: &'static str,
}

const DIRECT: Way = Way {
    name: "direct",
    websocket: None,
    sse: None,
    is_swallowed: false,
    is_remembered: false,
    goal: "",
};

const WAYS: [Way; 5] = [
    DIRECT,
    Way {
        name: "refused",
        websocket: Some(Wall::Refuses),
        goal: "<= 300 ms",
        ..DIRECT
    },
    Way {
        name: "swallowed",
        is_swallowed: true,
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
        websocket: Some(Wall::Refuses),
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
    let row = Box::named("WebSockets open and swallow every frame");
    let swallows = Middlebox::start(row, &[address]).await;
    let mut times = [const { Vec::new() }; WAYS.len()];
    for _ in 0..rounds {
        for (way, times) in WAYS.iter().zip(&mut times) {
            server
                .faults()
                .wall(TransportKind::WebSocket, way.websocket);
            server.faults().wall(TransportKind::Sse, way.sse);
            let url = match way.is_swallowed {
                true => swallows.url(),
                false => server.url(),
            };
            let took = first_data(url, way).await;
            times.push(took.with_context(|| way.name)?);
        }
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    }))
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
    let channel = client.channel("board:main")?;
    tokio::time::timeout(Duration::from_secs(20), channel.ready()).await??;
    let took = start.elapsed();
    client.close().await;
    Ok(took)
}
