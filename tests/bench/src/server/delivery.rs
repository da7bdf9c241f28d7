//! `delivery`: what it costs to tell one patch to many who are otherwise idle, over SSE and over long-poll against
//! WebSocket: processor time of the server, and from the moment at which a patch was due until a subscriber has it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidewire_core::wire::Codec;

use super::crowd::{Crowd, PUBLISHERS_MAX, Pace, Recording};
use super::latency::percentile;
use super::link::Over;
use super::load;
use super::patches::Patch;
use super::program::Program;
use crate::{Best, Rounds, Row, Scale};

const PER_SECOND: u32 = 5;

const CONTENDERS: [Over; 4] = [
    Over::WebSocket,
    Over::Events(Codec::Protobuf),
    Over::Events(Codec::Json),
    Over::Polls,
];

/// What is measured of each.
#[derive(Clone, Copy)]
struct Costs {
    cpu_us: Best<{ CONTENDERS.len() }>,
    p50_ms: Best<{ CONTENDERS.len() }>,
    p99_ms: Best<{ CONTENDERS.len() }>,
    /// Base64 of one patch by itself.
    base64_us: f64,
}

/// Measures the rows.
///
/// Errors: a program fails, or loses something.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let costs = load::run(measure(scale))?;
    let [websocket, sse, json, polls] = costs.cpu_us.figures();
    let mut rows = vec![
        Row::new("delivery/sse", "cpu-us", sse, websocket, "<= 1.5"),
        Row::new("delivery/long-poll", "cpu-us", polls, websocket, "<= 8"),
        // JSON travels as it is, Protobuf as base64.
        Row::new("delivery/sse-against-json", "cpu-us", sse, json, "<= 1.1"),
        Row::new(
            "delivery/base64-share",
            "cpu-us",
            costs.base64_us,
            sse,
            "<= 0.05",
        ),
    ];
    for (name, best) in [("p50", costs.p50_ms), ("p99", costs.p99_ms)] {
        let [websocket, sse, _, polls] = best.figures();
        let row = |over: &str, ms, goal| {
            Row::new(format!("delivery/{over}-{name}"), "ms", ms, websocket, goal)
        };
        rows.push(row("sse", sse, "<= 1.5"));
        rows.push(row("long-poll", polls, "<= 8"));
    }
    Ok(rows)
}

async fn measure(scale: Scale) -> anyhow::Result<Costs> {
    let members = PUBLISHERS_MAX + scale.pick(1000, 3);
    let pace = Pace::Every(Duration::from_secs(1) / PER_SECOND);
    let time = Duration::from_millis(scale.pick(10_000, 500));
    let mut costs = Costs {
        cpu_us: Best::lowest(),
        p50_ms: Best::lowest(),
        p99_ms: Best::lowest(),
        base64_us: 0.0,
    };
    for _ in 0..scale.pick(3, 1) {
        for (which, over) in CONTENDERS.into_iter().enumerate() {
            let program = Program::ours(&[])?;
            let mut crowd = Crowd::subscribe_over(over, &program, 1, members).await?;
            let before = program.cpu()?;
            let recording = crowd.publish(pace, time).await?;
            let cpu = (program.cpu()? - before).max(LEAST).as_secs_f64() * 1e6;
            // On a busy machine two patches may go out as one message, which is cheaper than two.
            let deliveries = crowd.take_messages();
            costs.cpu_us.note(which, cpu / deliveries as f64);
            let mut latencies = crowd.take_latencies();
            latencies.sort_unstable();
            let ms = |share| percentile(&latencies, share).as_secs_f64() * 1e3;
            costs.p50_ms.note(which, ms(0.5));
            costs.p99_ms.note(which, ms(0.99));
            costs.base64_us = base64_us(scale, &recording);
        }
    }
    Ok(costs)
}

/// What it takes to make base64 of one of the patches.
fn base64_us(scale: Scale, recording: &Recording) -> f64 {
    let message = recording.first().map(Patch::to_message).unwrap_or_default();
    let times = scale.pick(10_000, 10);
    let rounds = Rounds::<1>::run(scale.rounds(), |_| {
        let start = Instant::now();
        for _ in 0..times {
            black_box(STANDARD.encode(black_box(&message)));
        }
        start.elapsed()
    });
    rounds.nanos(0, times) / 1e3
}

/// `/proc` counts processor time in these.
const LEAST: Duration = Duration::from_millis(10);
