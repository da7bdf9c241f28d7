//! `idle`: what the server keeps resident for an idle connection over SSE and over long-poll, against one over WebSocket;
//! as in `memory/idle` after hello, one subscription and a snapshot of 2 KiB. Over long-poll a poll is held.

use tidewire_core::wire::Codec;

use super::arrival::{Measure, arrive, cost, ours};
use super::link::Over;
use super::load;
use crate::{Best, Row, Scale};

/// The first one is what the others are compared with.
const TRANSPORTS: [(&str, Over, &str); 3] = [
    ("websocket", Over::WebSocket, ""),
    ("sse", Over::Events(Codec::Protobuf), "<= 32 KiB"),
    ("long-poll", Over::Polls, "<= 32 KiB"),
];

/// Measures a row for each of the two. Their goals are for the value.
///
/// Errors: a program fails, or files are too few.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let count = scale.pick(10_000, 3);
    let best = load::run(async {
        let mut best = Best::<{ TRANSPORTS.len() }>::lowest();
        for _ in 0..scale.pick(2, 1) {
            for (which, (_, over, _)) in TRANSPORTS.iter().enumerate() {
                let program = ours()?;
                // What the first one makes the program do and keep is not counted.
                let _first = arrive(*over, &program, 0, None).await?;
                let cost = cost(Measure::MEMORY, count, &program, async |n| {
                    arrive(*over, &program, n + 1, None).await
                });
                best.note(which, cost.await?);
            }
        }
        Ok(best)
    })?;
    let [websocket, rest @ ..] = best.figures();
    let rows = TRANSPORTS[1..].iter().zip(rest);
    let rows = rows.map(|((name, _, goal), kib)| {
        Row::new(format!("idle/{name}"), "KiB", kib, websocket, goal)
    });
    Ok(rows.collect())
}
