//! What a process does while nothing happens: processor time and wake-ups of all its threads, as the kernel counts them.
//! A loop that spins shows there, whichever task it is in.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What was done in some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Share of one processor.
    pub busy: f64,
    /// How often a thread slept and was woken, per second.
    pub wake_ups: f64,
}

/// Watches a process for a while.
///
/// # Panics
/// When the process has gone, or the kernel does not say.
pub async fn effort(pid: u32, time: Duration) -> Effort {
    let (begun, before) = (Instant::now(), done(pid));
    tokio::time::sleep(time).await;
    let (ticks, wake_ups) = done(pid);
    let seconds = begun.elapsed().as_secs_f64();
    Effort {
        busy: (ticks - before.0) / TICKS_PER_SECOND / seconds,
        wake_ups: (wake_ups - before.1) / seconds,
    }
}

/// `USER_HZ`, which is 100 on every Linux that runs these tests.
const TICKS_PER_SECOND: f64 = 100.0;

/// Clock ticks on a processor, and voluntary switches of all threads.
fn done(pid: u32) -> (f64, f64) {
    let process = format!("/proc/{pid}");
    let stat = fs::read_to_string(Path::new(&process).join("stat")).expect("the process lives");
    // After the program's name, which may have blanks in it: state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |at: usize| fields[at - 3].parse::<f64>().expect("a number");
    let threads = fs::read_dir(Path::new(&process).join("task")).expect("the process lives");
    let wake_ups = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line?.trim().parse::<f64>().ok()
        })
        .sum();
    (ticks(14) + ticks(15), wake_ups)
}
