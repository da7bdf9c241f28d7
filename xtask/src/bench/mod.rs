//! `cargo xtask bench`: figures, each beside a baseline that was measured in the same run.
//!
//! Two programs print them, one JSON object a line: `tests/bench` what runs natively, and
//! `tests/bench/browser` what runs in Chromium.

mod facts;
mod record;
mod row;

use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

use self::row::Row;
use crate::browser;
use crate::node;
use crate::npm;
use crate::place;
use crate::process::{collect, command, run};
use crate::setup::Consent;

/// The benchmarks of `tests/bench/browser`, by name.
const IN_BROWSER: [&str; 3] = ["browser-ingest", "optimistic-browser", "whole-path"];

/// Runs the benchmarks whose names begin with one of these, or all.
pub(crate) fn run_named(
    names: &[String],
    json: bool,
    record: bool,
    consent: Consent,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut rows = native(names)?;
    if IN_BROWSER.iter().any(|bench| is_wanted(names, bench)) {
        rows.extend(in_browser(names, consent)?);
    }
    rows.retain(|row| names.is_empty() || names.iter().any(|name| row.name.starts_with(name)));
    if rows.is_empty() {
        bail!(
            "no benchmark has a row whose name begins with {}",
            names.join(" or ")
        );
    }
    eprintln!("measured in {} s", start.elapsed().as_secs());
    if record {
        record::write(&rows)?;
    }
    if json {
        println!("{}", row::to_json(&rows));
    } else {
        print!("{}", row::to_table(&rows));
    }
    Ok(())
}

/// Whether a benchmark has rows under one of the names.
fn is_wanted(names: &[String], bench: &str) -> bool {
    names.is_empty()
        || names
            .iter()
            .any(|name| bench.starts_with(name) || name.starts_with(&format!("{bench}/")))
}

fn native(names: &[String]) -> anyhow::Result<Vec<Row>> {
    run(command("cargo", &place::root()).args([
        "build",
        "--locked",
        "--release",
        "--package",
        "tidewire-bench",
    ]))?;
    read(command(program(), &place::root()).args(names))
}

fn in_browser(names: &[String], consent: Consent) -> anyhow::Result<Vec<Row>> {
    let chromium = browser::find_or_install(consent)?;
    npm::build(consent)?;
    let dir = place::root().join("tests/bench/browser");
    node::install(&place::root().join("tests/browser"), consent)?;
    read(
        command("node", &dir)
            .arg("bench.mjs")
            .args(names)
            .env("TEST_CHROMIUM", chromium)
            .env("BENCH_PROGRAM", program()),
    )
}

fn program() -> std::path::PathBuf {
    place::target_dir().join("release/tidewire-bench")
}

fn read(command: &mut std::process::Command) -> anyhow::Result<Vec<Row>> {
    let (printed, success) = collect(command)?;
    if !success {
        bail!("a benchmark failed: what it said is above");
    }
    printed
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            Row::from_json(&value).with_context(|| format!("no row of a benchmark: {line}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_by_its_beginning_and_a_row_selects_its_benchmark() {
        let wanted = |name: &str, bench| is_wanted(&[name.to_owned()], bench);
        assert!(is_wanted(&[], "whole-path"));
        assert!(wanted("browser", "browser-ingest"));
        assert!(wanted("browser-ingest/record", "browser-ingest"));
        assert!(wanted("optimistic", "optimistic-browser"));
        assert!(!wanted("core-ingest", "browser-ingest"));
    }
}
