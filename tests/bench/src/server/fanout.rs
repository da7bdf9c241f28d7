//! `fanout`: one channel with many subscribers, of whom some publish.

use super::load;
use super::throughput::{Audience, compare};
use crate::{Row, Scale};

/// Mutations on their way at a time: published, and not yet with every subscriber.
const WINDOWS: [usize; 2] = [32, 128];

/// Measures a row for each number of subscribers and each window.
///
/// Errors: a program fails, or loses something.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    load::run(async {
        let mut rows = Vec::new();
        for &members in scale.pick(&[100, 1000, 5000][..], &[3]) {
            let audience = Audience {
                channels: 1,
                members,
            };
            let figures = compare(scale, audience, &WINDOWS).await?;
            for ([ours, bare], window) in figures.into_iter().zip(WINDOWS) {
                let name = format!("fanout/{members}x{window}");
                rows.push(Row::new(name, "deliveries/cpu-s", ours, bare, ">= 0.8"));
            }
        }
        Ok(rows)
    })
}
