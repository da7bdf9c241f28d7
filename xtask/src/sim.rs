//! `cargo xtask sim` and the seeds of the test run: the `tidewire-sim` binary does the work.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, bail};

use crate::place;
use crate::planted;
use crate::process::{command, run, run_through};

/// Seeds that once found a bug: replayed in every test run.
const KNOWN_FAILURES: &str = "tests/fixtures/seeds.txt";

/// Seeds from `start` up to, but not with, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeedRange {
    /// The first seed.
    pub(crate) start: u64,
    /// One past the last seed.
    pub(crate) end: u64,
}

impl FromStr for SeedRange {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let bounds = text.split_once("..").and_then(|(start, end)| {
            Some(Self {
                start: start.parse().ok()?,
                end: end.parse().ok()?,
            })
        });
        match bounds {
            Some(range) if range.start < range.end => Ok(range),
            Some(_) => bail!("`{text}` holds no seed: the second number must be the larger one"),
            None => bail!("`{text}` is no range of seeds: write it like 0..1000"),
        }
    }
}

impl fmt::Display for SeedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Builds the simulator and the program of the fuzz targets: one command, so that both have one build of
/// the server. Planted bugs are in it, and sleep; the profile is in Cargo.toml.
pub(crate) fn build() -> anyhow::Result<()> {
    let mut cargo = command("cargo", &place::root());
    cargo.args(["build", "--locked", "--profile", "sim", "--bins"]);
    cargo.args(["--package", "tidewire-sim", "--package", "tidewire-fuzz"]);
    planted::compiled_by(&mut cargo)?;
    run(&mut cargo)
}

/// The simulator.
pub(crate) fn program() -> PathBuf {
    place::target_dir().join("sim/tidewire-sim")
}

/// A command for it.
pub(crate) fn simulator() -> Command {
    command(program(), &place::root())
}

/// Runs every seed of a range; an error when one of them fails.
pub(crate) fn run_range(seeds: SeedRange, json: bool) -> anyhow::Result<()> {
    build()?;
    let mut simulator = simulator();
    simulator.args(["--seeds", &seeds.to_string()]);
    if json {
        simulator.arg("--json");
    }
    run_through(&mut simulator)
}

/// Runs the seeds of the test run: none fails, and every kind of fault strikes in them.
pub(crate) fn run_sample(seeds: SeedRange) -> anyhow::Result<()> {
    build()?;
    let seeds = seeds.to_string();
    run_through(simulator().args(["--seeds", &seeds, "--json", "--every-fault"]))
}

/// Runs one seed and shows what happened in it.
pub(crate) fn replay(seed: u64) -> anyhow::Result<()> {
    build()?;
    run_through(simulator().args(["--replay", &seed.to_string()]))
}

/// Runs the seeds that once failed, each in a range of its own.
pub(crate) fn run_known_failures() -> anyhow::Result<()> {
    build()?;
    let text = fs::read_to_string(place::root().join(KNOWN_FAILURES))
        .with_context(|| format!("cannot read {KNOWN_FAILURES}"))?;
    let seeds = parse_seeds(&text)?;
    for seed in &seeds {
        let range = format!("{seed}..{}", seed.saturating_add(1));
        run_through(simulator().args(["--seeds", &range]))?;
    }
    println!("{} seeds of {KNOWN_FAILURES} pass", seeds.len());
    Ok(())
}

/// One seed a line; `#` begins a comment.
fn parse_seeds(text: &str) -> anyhow::Result<Vec<u64>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.parse()
                .with_context(|| format!("{KNOWN_FAILURES}: `{line}` is no seed"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_written_alike() {
        let range: SeedRange = "5..18446744073709551615".parse().expect("a range");
        assert_eq!(range.start, 5);
        assert_eq!(range.end, u64::MAX);
        assert_eq!(range.to_string(), "5..18446744073709551615");
    }

    #[test]
    fn what_is_no_range_is_refused_with_an_example() {
        for text in ["", "5", "5..", "..5", "-1..5", "a..b", "1..=5"] {
            let error = text.parse::<SeedRange>().expect_err(text);
            assert!(error.to_string().contains("0..1000"), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_range_is_refused() {
        for text in ["5..5", "6..5"] {
            let error = text.parse::<SeedRange>().expect_err(text);
            assert!(error.to_string().contains("holds no seed"), "{error}");
        }
    }

    #[test]
    fn known_failures_are_numbers_with_comments() {
        let text = "# found by 0..1000\n42 # lost ack\n\n7\n";
        assert_eq!(parse_seeds(text).expect("two seeds"), [42, 7]);
        assert!(parse_seeds("42 43\n").is_err());
    }
}
