//! Many seeds on all cores, and what came out of them as one line of JSON.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::faults::Fault;
use crate::run::{Report, run};
use crate::trace::mix;

/// At most this many failed seeds are kept with their stories; all are counted.
const STORIES_MAX: usize = 20;

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many seeds ran.
    pub seeds: u64,
    /// Which failed, in order.
    pub failed_seeds: Vec<u64>,
    /// The first few failures.
    pub stories: Vec<Report>,
    /// Virtual time of all runs.
    pub simulated_ms: u64,
    /// Mutations of all runs.
    pub mutations: u64,
    /// Delivered faults of all runs.
    pub faults: BTreeMap<Fault, u64>,
    /// The longest time that a run took to come to rest.
    pub converged_ms_max: u64,
    /// One hash over the hashes of all runs, in the order of the seeds.
    pub trace_hash: u64,
}

/// Runs seeds in order until one fails; `None` if none does.
pub fn first_failure(seeds: Range<u64>, threads: usize) -> Option<Report> {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let found: Mutex<Option<Report>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        break;
                    }
                    let report = run(seed, false);
                    if report.violation.is_none() {
                        continue;
                    }
                    // Lower seeds are being run already: the lowest failure counts.
                    end.fetch_min(seed, Ordering::Relaxed);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    if found.as_ref().is_none_or(|known| seed < known.seed) {
                        *found = Some(report);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a range of seeds; `progress` is called now and then with the number of finished ones.
pub fn run_all(seeds: Range<u64>, threads: usize, progress: impl Fn(u64) + Sync) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let report = run(seed, false);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(seed, report);
                    progress(done.len() as u64);
                }
            });
        }
    });
    let mut summary = Summary::default();
    for report in done
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
    {
        summary.add(report);
    }
    summary
}

impl Summary {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.simulated_ms += report.simulated_ms;
        self.mutations += report.mutations;
        self.trace_hash = mix(self.trace_hash, report.trace_hash);
        self.converged_ms_max = self.converged_ms_max.max(report.converged_ms.unwrap_or(0));
        for (&fault, &count) in &report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        if report.violation.is_some() {
            self.failed_seeds.push(report.seed);
            if self.stories.len() < STORIES_MAX {
                self.stories.push(report);
            }
        }
    }

    /// The kinds of fault that never struck.
    #[must_use]
    pub fn idle_faults(&self) -> Vec<Fault> {
        let struck = |fault: &&Fault| self.faults.get(fault).is_some_and(|&count| count > 0);
        Fault::ALL
            .iter()
            .filter(|fault| !struck(fault))
            .copied()
            .collect()
    }

    /// The line that `--json` prints. Shape: docs/testing.md, "Simulation".
    #[must_use]
    pub fn to_json(&self) -> String {
        let faults: serde_json::Map<_, _> = Fault::ALL
            .iter()
            .map(|fault| {
                let count = self.faults.get(fault).copied().unwrap_or(0);
                (fault.name().to_owned(), count.into())
            })
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "hours are for people")]
        let hours = (self.simulated_ms as f64 / 36_000.0).round() / 100.0;
        serde_json::json!({
            "seeds": self.seeds,
            "failures": self.failed_seeds.len(),
            "failed_seeds": self.failed_seeds,
            "simulated_hours": hours,
            "mutations": self.mutations,
            "faults": faults,
            "trace_hash": format!("{:016x}", self.trace_hash),
        })
        .to_string()
    }
}

/// What people are told about a failed run.
#[must_use]
pub fn story(report: &Report) -> String {
    let Some((at_ms, violation)) = &report.violation else {
        return format!("seed={} is fine", report.seed);
    };
    format!(
        "seed={} commit={}\n  {} violated at {}.{:03} s: {}\n  rerun: cargo xtask sim --replay {}",
        report.seed,
        commit(),
        violation.rule,
        at_ms / 1000,
        at_ms % 1000,
        violation.detail,
        report.seed
    )
}

/// The commit of the working directory, for whoever reads a failure later.
fn commit() -> String {
    Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".into(), |text| text.trim().to_owned())
}
