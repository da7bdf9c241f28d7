//! `tidewire-sim --seeds A..B [--json]` runs seeds, `--replay SEED` prints one as a timeline.

use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use tidewire_sim::report::{run_all, story};

/// Deterministic simulation of clients and servers.
#[derive(Parser)]
struct Args {
    /// Seeds to run, the end excluded.
    #[arg(long, value_parser = seeds, required_unless_present = "replay")]
    seeds: Option<Range<u64>>,
    /// Print the timeline of one seed.
    #[arg(long, conflicts_with = "seeds")]
    replay: Option<u64>,
    /// Print one line of JSON last on standard output.
    #[arg(long)]
    json: bool,
    /// Threads to use; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text
        .split_once("..")
        .ok_or("write seeds as A..B, B excluded")?;
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|e| format!("{text:?}: {e}"))
    };
    let range = number(start)?..number(end)?;
    if range.is_empty() {
        return Err(format!("{text} holds no seed"));
    }
    Ok(range)
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A panic of the code under test is a finding and told as one, not as a backtrace per seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = args.replay {
        let report = tidewire_sim::run(seed, true);
        let mut out = std::io::stdout().lock();
        // Whoever reads only the first lines may close the pipe.
        let _ = out.write_all(report.text.as_bytes());
        let _ = writeln!(out, "trace_hash {:016x}", report.trace_hash);
        let _ = writeln!(out, "{}", story(&report));
        return verdict(report.violation.is_some());
    }
    let Some(seeds) = args.seeds else {
        return ExitCode::FAILURE;
    };
    let count = seeds.end - seeds.start;
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let on_terminal = std::io::stderr().is_terminal();
    let started = std::time::Instant::now();
    let summary = run_all(seeds, threads, |done| {
        if on_terminal && (done % 10 == 0 || done == count) {
            eprint!("\r{done} of {count} seeds");
        }
    });
    if on_terminal {
        eprintln!();
    }
    for report in &summary.stories {
        eprintln!("{}", story(report));
    }
    eprintln!(
        "{} seeds, {} failed, {} mutations, {} faults, slowest at rest after {} ms, {:.1} s",
        summary.seeds,
        summary.failed_seeds.len(),
        summary.mutations,
        summary.faults.values().sum::<u64>(),
        summary.converged_ms_max,
        started.elapsed().as_secs_f64(),
    );
    if args.json {
        println!("{}", summary.to_json());
    }
    verdict(!summary.failed_seeds.is_empty())
}

fn verdict(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
