//! `latency`: from the moment at which a patch was due until a subscriber has it.
//!
//! Publisher and subscribers share a process and its clock. Patches are published at fixed moments,
//! whether earlier ones have arrived or not, and count from then: a program that stalls cannot hide it.

use std::time::Duration;

use super::crowd::{Crowd, Pace};
use super::load;
use super::program::Program;
use crate::{Best, Row, Scale};

const PER_SECOND: u32 = 20;

/// Names and shares of the deliveries that are at least as quick.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// Measures a row for each percentile.
///
/// Errors: a program fails, or loses something.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    load::run(async {
        let members = scale.pick(1000, 3);
        let pace = Pace::Every(Duration::from_secs(1) / PER_SECOND);
        let time = Duration::from_millis(scale.pick(6000, 200));
        let mut best = [Best::<2>::lowest(); PERCENTILES.len()];
        for _ in 0..scale.pick(3, 1) {
            let recording = {
                let program = Program::ours(&[])?;
                let mut crowd = Crowd::subscribe(&program, 1, members).await?;
                let recording = crowd.publish(pace, time).await?;
                note(&mut best, 0, crowd.take_latencies());
                recording
            };
            let program = Program::bare()?;
            let mut crowd = Crowd::enter(&program, 1, members).await?;
            crowd.replay(pace, &recording).await?;
            note(&mut best, 1, crowd.take_latencies());
        }
        let rows = PERCENTILES.iter().zip(best).map(|((name, _), best)| {
            let [ours, bare] = best.figures();
            Row::new(format!("latency/{name}"), "ms", ours, bare, "<= 1.1")
        });
        Ok(rows.collect())
    })
}

fn note(best: &mut [Best<2>], which: usize, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    for (best, (_, share)) in best.iter_mut().zip(PERCENTILES) {
        best.note(which, percentile(&latencies, share).as_secs_f64() * 1e3);
    }
}

/// The smallest one that so large a share does not exceed; `sorted` is not empty.
pub(super) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measured_times() {
        let sorted: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let ms = |share| percentile(&sorted, share).as_millis();
        assert_eq!(
            [ms(0.5), ms(0.99), ms(0.999), ms(1.0)],
            [500, 990, 999, 1000]
        );
        assert_eq!(percentile(&sorted[..1], 0.5).as_millis(), 1);
    }
}
