//! `cargo xtask soak sim`: many more seeds than a test run has time for, and a ledger of them.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::ledger::{Table, commit, today};
use crate::process::collect;
use crate::sim::{self, SeedRange};

/// How many seeds one call adds, unless a range is given.
const SEEDS_PER_RUN: u64 = 20_000;

/// What `cargo xtask soak parity` compares.
pub(crate) const PARITY_SEEDS: SeedRange = SeedRange {
    start: 0,
    end: 1000,
};

/// Older ledgers have this table right below the title.
const TABLE: Table = Table {
    intro: "## Simulated worlds\n
Written by `cargo xtask soak sim`. Without `--seeds` a run goes on after the highest seed listed here.\n",
    head: "\
| date | commit | seeds | simulated hours | mutations | faults | minutes | result | trace hash |
|---|---|---|---|---|---|---|---|---|
",
};

/// Runs the seeds and appends what came of it; an error when one failed.
pub(crate) fn sim(seeds: Option<SeedRange>) -> anyhow::Result<()> {
    let seeds = match seeds {
        Some(seeds) => seeds,
        None => next_seeds(&TABLE.rows()?)?,
    };
    sim::build()?;
    let started = Instant::now();
    let (printed, passed) =
        collect(sim::simulator().args(["--seeds", &seeds.to_string(), "--json"]))?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;

    let last = printed.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(last)
        .with_context(|| format!("the simulator printed no summary but `{last}`"))?;
    let row = ledger_row(&today()?, &commit()?, seeds, &summary, minutes)?;
    TABLE.add(&row)?;
    println!("{row}");
    if !passed {
        bail!("seeds failed; add them to tests/fixtures/seeds.txt once they are understood");
    }
    Ok(())
}

/// The seeds after the highest one in the ledger.
fn next_seeds(rows: &[String]) -> anyhow::Result<SeedRange> {
    let start = rows
        .iter()
        .filter_map(|row| row.split('|').nth(3))
        .filter_map(|cell| cell.trim().parse::<SeedRange>().ok())
        .map(|range| range.end)
        .max()
        .unwrap_or(0);
    let end = start
        .checked_add(SEEDS_PER_RUN)
        .context("the seeds are used up: give a range with --seeds")?;
    Ok(SeedRange { start, end })
}

fn ledger_row(
    date: &str,
    commit: &str,
    seeds: SeedRange,
    summary: &Value,
    minutes: f64,
) -> anyhow::Result<String> {
    let field = |name: &str| {
        summary
            .get(name)
            .with_context(|| format!("the simulator's summary has no {name}: {summary}"))
    };
    let faults = field("faults")?
        .as_object()
        .context("faults is no object")?;
    let faults: u64 = faults.values().filter_map(Value::as_u64).sum();
    let hours = field("simulated_hours")?
        .as_f64()
        .context("simulated_hours is no number")?;
    let failures = field("failures")?
        .as_u64()
        .context("failures is no number")?;
    let mut result = String::from("passed");
    if failures > 0 {
        result = format!("**{failures} failed**:");
        for seed in field("failed_seeds")?.as_array().into_iter().flatten() {
            write!(result, " {seed}")?;
        }
    }
    Ok(format!(
        "| {date} | {commit} | {seeds} | {hours:.1} | {} | {faults} | {minutes:.1} | {result} | {} |",
        field("mutations")?,
        field("trace_hash")?.to_string().trim_matches('"'),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(failed: &[u64]) -> Value {
        serde_json::json!({
            "seeds": 100, "failures": failed.len(), "failed_seeds": failed,
            "simulated_hours": 12.34, "mutations": 5000,
            "faults": {"cut": 70, "crash": 30}, "trace_hash": "00ff",
        })
    }

    #[test]
    fn the_next_run_goes_on_after_the_highest_seed() {
        let range = |start, end| SeedRange { start, end };
        assert_eq!(next_seeds(&[]).expect("room"), range(0, SEEDS_PER_RUN));
        let rows = [range(0, 500), range(10, 20)].map(|seeds| {
            ledger_row("2026-01-02", "abc", seeds, &summary(&[]), 1.0).expect("a row")
        });
        let next = next_seeds(&rows).expect("room");
        assert_eq!(next.start, 500);
    }

    #[test]
    fn a_line_names_the_seeds_that_failed() {
        let seeds = SeedRange { start: 0, end: 100 };
        let line = ledger_row("2026-01-02", "abc", seeds, &summary(&[3, 99]), 1.0).expect("a line");
        assert!(
            line.contains("| 0..100 | 12.3 | 5000 | 100 | 1.0 | **2 failed**: 3 99 | 00ff |"),
            "{line}"
        );
    }

    #[test]
    fn a_summary_without_a_field_is_an_error_that_names_it() {
        let seeds = SeedRange { start: 0, end: 1 };
        let error = ledger_row("d", "c", seeds, &serde_json::json!({"faults": {}}), 0.0)
            .expect_err("fields are missing");
        assert!(error.to_string().contains("simulated_hours"));
    }
}
