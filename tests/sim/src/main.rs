//! `tidewire-sim --seeds A..B [--json]` runs seeds, `--replay SEED` prints one as a timeline.

use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
#[cfg(tidewire_planted)]
use tidewire_core::planted::Planted;
use tidewire_sim::report::{run_all, story};

/// Deterministic simulation of clients and servers.
#[derive(Parser)]
struct Args {
    /// Seeds to run, the end excluded.
    #[arg(long, value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Print the timeline of one seed.
    #[arg(long, conflicts_with = "seeds")]
    replay: Option<u64>,
    /// Print one line of JSON last on standard output.
    #[arg(long)]
    json: bool,
    /// Fail if a kind of fault never struck.
    #[arg(long)]
    every_fault: bool,
    /// Print the trace hash of each seed, one a line, and nothing else.
    #[arg(long, conflicts_with_all = ["json", "replay"])]
    hashes: bool,
    /// Threads to use; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Be wrong in this way, and run seeds until one shows it.
    #[cfg(tidewire_planted)]
    #[arg(long, value_parser = planted_bugs::named)]
    planted: Option<Planted>,
    /// Name the ways to be wrong, each with the rule that it breaks.
    #[cfg(tidewire_planted)]
    #[arg(long, exclusive = true)]
    planted_list: bool,
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
    #[cfg(tidewire_planted)]
    tidewire_core::planted::choose(args.planted);
    if let Some(seed) = args.replay {
        let report = tidewire_sim::run(seed, true);
        let mut out = std::io::stdout().lock();
        // Whoever reads only the first lines may close the pipe.
        let _ = out.write_all(report.text.as_bytes());
        let _ = writeln!(out, "trace_hash {:016x}", report.trace_hash);
        let _ = writeln!(out, "{}", story(&report));
        return verdict(report.violation.is_some());
    }
    #[cfg(tidewire_planted)]
    if args.planted_list {
        return planted_bugs::list();
    }
    let Some(seeds) = args.seeds else {
        eprintln!("say which seeds: --seeds A..B, or --replay SEED");
        return ExitCode::FAILURE;
    };
    let count = seeds.end - seeds.start;
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    #[cfg(tidewire_planted)]
    if let Some(variant) = args.planted {
        return planted_bugs::hunt(variant, seeds, threads, args.json);
    }
    if args.hashes {
        return print_hashes(seeds);
    }
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
    let idle = summary.idle_faults();
    if args.every_fault && !idle.is_empty() {
        let names: Vec<&str> = idle.iter().map(|fault| fault.name()).collect();
        eprintln!("these faults never struck: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    verdict(!summary.failed_seeds.is_empty())
}

fn print_hashes(seeds: Range<u64>) -> ExitCode {
    let mut failed = false;
    for seed in seeds {
        let report = tidewire_sim::run(seed, false);
        if report.violation.is_some() {
            eprintln!("{}", story(&report));
            failed = true;
        }
        println!("{:016x}", report.trace_hash);
    }
    verdict(failed)
}

fn verdict(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// What a build that can be wrong does besides (docs/testing.md, "Planted bugs").
#[cfg(tidewire_planted)]
mod planted_bugs {
    use std::ops::Range;
    use std::process::ExitCode;

    use tidewire_core::planted::{MARK, Planted};
    use tidewire_sim::report::first_failure;

    pub(super) fn named(name: &str) -> Result<Planted, String> {
        Planted::ALL
            .iter()
            .copied()
            .find(|variant| variant.name() == name)
            .ok_or_else(|| format!("{MARK} has no {name:?}: --planted-list names them"))
    }

    pub(super) fn list() -> ExitCode {
        for variant in Planted::ALL {
            println!("{}\t{}", variant.name(), variant.rule());
        }
        ExitCode::SUCCESS
    }

    /// Runs seeds until one fails. Success is to have found nothing.
    pub(super) fn hunt(
        variant: Planted,
        seeds: Range<u64>,
        threads: usize,
        json: bool,
    ) -> ExitCode {
        let start = seeds.start;
        let caught = first_failure(seeds, threads);
        let seeds_needed = caught.as_ref().map(|report| report.seed - start + 1);
        let violation = caught.and_then(|report| report.violation);
        let checker = violation.as_ref().map(|(_, violation)| violation.rule);
        if json {
            let line = serde_json::json!({
                "variant": variant.name(),
                "rule": variant.rule(),
                "checker": checker,
                "seeds_needed": seeds_needed,
            });
            println!("{line}");
        } else if let Some((at_ms, violation)) = &violation {
            println!(
                "{} caught by {} with seed {} at {at_ms} ms: {}",
                variant.name(),
                violation.rule,
                start + seeds_needed.unwrap_or(1) - 1,
                violation.detail
            );
        }
        super::verdict(violation.is_some())
    }
}
