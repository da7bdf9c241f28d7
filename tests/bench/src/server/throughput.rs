//! Deliveries per second of processor time, ours and the bare program's.

use std::time::Duration;

use super::crowd::{Crowd, Pace, Recording};
use super::program::Program;
use crate::{Best, Scale};

/// `/proc` counts processor time in these.
const TICK: Duration = Duration::from_millis(10);

/// How many listen to what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audience {
    pub(super) channels: usize,
    pub(super) members: usize,
}

/// Compares both programs with each of some windows: the best of ours and of the bare one, in
/// deliveries (an entry that reached a member) per second of processor time.
///
/// Errors: a program fails, or loses something.
pub(super) async fn compare(
    scale: Scale,
    audience: Audience,
    windows: &[usize],
) -> anyhow::Result<Vec<[f64; 2]>> {
    let time = Duration::from_millis(scale.pick(1200, 50));
    let mut best = vec![Best::<2>::highest(); windows.len()];
    for _ in 0..scale.pick(3, 1) {
        let Audience { channels, members } = audience;
        let mut recordings = Vec::new();
        {
            let program = Program::ours(&[])?;
            let mut crowd = Crowd::subscribe(&program, channels, members).await?;
            for (best, window) in best.iter_mut().zip(windows) {
                let before = program.cpu()?;
                let recording = crowd.publish(Pace::Window(*window), time).await?;
                best.note(0, rate(&recording, members, program.cpu()? - before));
                recordings.push(recording);
            }
        }
        let program = Program::bare()?;
        let mut crowd = Crowd::enter(&program, channels, members).await?;
        for ((best, window), recording) in best.iter_mut().zip(windows).zip(&recordings) {
            let before = program.cpu()?;
            crowd.replay(Pace::Window(*window), recording).await?;
            best.note(1, rate(recording, members, program.cpu()? - before));
        }
    }
    Ok(best.iter().map(Best::figures).collect())
}

fn rate(recording: &Recording, members: usize, cpu: Duration) -> f64 {
    (recording.entries() * members) as f64 / cpu.max(TICK).as_secs_f64()
}
