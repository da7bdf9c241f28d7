//! Planted bugs: wrong variants of real rules, each of which the simulation has to catch.
//!
//! They exist under `--cfg tidewire_planted` alone, which only the simulator and the fuzz targets have, compiled by
//! [`compile`] in the compiler's place. Unless a program is told at its start which one to be, they change nothing: the
//! simulation for wasm32 is compiled without them, and leaves the same traces (`parity`).

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::place;
use crate::process::capture;
use crate::programs;
use crate::sim;

/// Where the table of all variants stands, between two marks.
const TABLE: &str = "docs/testing.md";
const BEGIN: &str = "<!-- planted bugs: begin, written by `cargo xtask soak planted` -->\n";
const END: &str = "<!-- planted bugs: end -->\n";

/// A text that only a build with planted bugs contains (`sdk-core/src/planted.rs`).
const MARK: &[u8] = b"tidewire-planted-bugs";

/// Seeds that the long count gives each variant, and the sample of every test run.
const SEEDS_MAX: u64 = 4000;
const SEEDS_SAMPLE: u64 = 60;

/// What became of one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hunt {
    variant: String,
    rule: String,
    /// Which checker caught it, and after how many seeds.
    caught: Option<(String, u64)>,
}

/// Runs every variant until it is caught, and writes the table; an error when one was not.
pub(crate) fn soak() -> anyhow::Result<()> {
    sim::build()?;
    let mut hunts = Vec::new();
    for variant in variants()? {
        let hunt = hunt(&variant, SEEDS_MAX)?;
        println!("{}", describe(&hunt));
        hunts.push(hunt);
    }
    let path = place::root().join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    fs::write(&path, with_table(&text, &hunts)?)
        .with_context(|| format!("cannot write {TABLE}"))?;
    let missed: Vec<&str> = hunts
        .iter()
        .filter(|hunt| hunt.caught.is_none())
        .map(|hunt| hunt.variant.as_str())
        .collect();
    println!(
        "{} of {} planted bugs caught within {SEEDS_MAX} seeds each",
        hunts.len() - missed.len(),
        hunts.len()
    );
    ensure!(missed.is_empty(), "not caught: {}", missed.join(", "));
    Ok(())
}

/// Runs with a few seeds every variant that the table says was caught within them: it must be caught.
pub(crate) fn sample() -> anyhow::Result<()> {
    sim::build()?;
    programs::build_with_tests()?;
    ensure_kept_apart(&programs::dir().join("tidewire-server"), &sim::program())?;
    let text = fs::read_to_string(place::root().join(TABLE))
        .with_context(|| format!("cannot read {TABLE}"))?;
    let expected = read_table(&text)?;
    let variants = variants()?;
    ensure!(
        expected.len() == variants.len(),
        "{TABLE} lists {} planted bugs, there are {}: run `cargo xtask soak planted`",
        expected.len(),
        variants.len()
    );
    // Those that need more seeds would prove nothing here.
    let promised: Vec<&String> = variants
        .iter()
        .filter(|variant| {
            let row = expected.iter().find(|(name, _)| name == *variant);
            row.is_some_and(|(_, seeds)| seeds.is_some_and(|seeds| seeds <= SEEDS_SAMPLE))
        })
        .collect();
    let mut missed = Vec::new();
    for variant in &promised {
        let hunt = hunt(variant, SEEDS_SAMPLE)?;
        if hunt.caught.is_none() {
            missed.push(hunt.variant);
        }
    }
    println!(
        "{} of the {} planted bugs that {SEEDS_SAMPLE} seeds must catch were caught; there are {} in all",
        promised.len() - missed.len(),
        promised.len(),
        variants.len()
    );
    if !missed.is_empty() {
        bail!("no longer caught: {}", missed.join(", "));
    }
    Ok(())
}

/// Set while cargo builds what can be wrong: this program is then called as a compiler.
const COMPILES: &str = "TIDEWIRE_XTASK_COMPILES_PLANTED";

/// Has cargo compile our own crates with the planted bugs in them.
pub(crate) fn compiled_by(cargo: &mut Command) -> anyhow::Result<()> {
    cargo.env("RUSTC_WORKSPACE_WRAPPER", place::compiler()?);
    cargo.env(COMPILES, "1");
    Ok(())
}

/// Whether cargo called this program in the place of the compiler.
pub(crate) fn compiles() -> bool {
    env::var_os(COMPILES).is_some()
}

/// Compiles a crate of ours with the planted bugs in it: the arguments are the compiler and its own.
pub(crate) fn compile(mut args: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let compiler = args.next().context("cargo names the compiler first")?;
    let status = Command::new(&compiler)
        .args(args)
        .args(["--cfg", "tidewire_planted"])
        .status()
        .with_context(|| format!("cannot start {}", compiler.display()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn variants() -> anyhow::Result<Vec<String>> {
    let listed = capture(sim::simulator().arg("--planted-list"))?;
    let names = listed.lines().filter_map(|line| line.split('\t').next());
    Ok(names.map(ToOwned::to_owned).collect())
}

fn hunt(variant: &str, seeds: u64) -> anyhow::Result<Hunt> {
    let range = format!("0..{seeds}");
    let mut simulator = sim::simulator();
    simulator.args(["--planted", variant, "--seeds", &range, "--json"]);
    // It fails when it has found the bug, which is what it is for.
    let output = simulator
        .output()
        .with_context(|| format!("cannot start the simulator for {variant}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let line = printed.lines().last().unwrap_or_default();
    let found: Value = serde_json::from_str(line)
        .with_context(|| format!("the simulator said nothing of {variant} but `{line}`"))?;
    let text = |name: &str| found[name].as_str().map(ToOwned::to_owned);
    Ok(Hunt {
        variant: variant.to_owned(),
        rule: text("rule").context("no rule")?,
        caught: text("checker").zip(found["seeds_needed"].as_u64()),
    })
}

fn describe(hunt: &Hunt) -> String {
    match &hunt.caught {
        Some((checker, seeds)) => format!("{}: {checker}, {seeds} seeds", hunt.variant),
        None => format!("{}: not caught", hunt.variant),
    }
}

/// The table, in the place of the old one.
fn with_table(text: &str, hunts: &[Hunt]) -> anyhow::Result<String> {
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("{TABLE} has no mark where the table begins"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{TABLE} has no mark where the table ends"))?;
    let mut table = String::from(
        "| variant | the rule that it breaks | caught by | seeds |\n|---|---|---|---|\n",
    );
    for hunt in hunts {
        let (checker, seeds) = match &hunt.caught {
            Some((checker, seeds)) => (checker.as_str(), seeds.to_string()),
            None => ("–", "–".to_owned()),
        };
        table.push_str(&format!(
            "| `{}` | {} | {checker} | {seeds} |\n",
            hunt.variant, hunt.rule
        ));
    }
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Variants and seeds needed, as the table has them.
fn read_table(text: &str) -> anyhow::Result<Vec<(String, Option<u64>)>> {
    let table = text
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .with_context(|| format!("{TABLE} has no table of planted bugs"))?
        .0;
    let rows = table.lines().skip(2).filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells.first()?.trim_matches('`').to_owned();
        Some((name, cells.last()?.parse().ok()))
    });
    Ok(rows.collect())
}

/// What people run holds nothing of the planted bugs; the simulator does, or the look would be vain.
fn ensure_kept_apart(real: &Path, planted: &Path) -> anyhow::Result<()> {
    let holds = |path: &Path| -> anyhow::Result<bool> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(bytes.windows(MARK.len()).any(|window| window == MARK))
    };
    ensure!(
        holds(planted)?,
        "{} holds no planted bug: the mark in sdk-core/src/planted.rs is another one",
        planted.display()
    );
    ensure!(
        !holds(real)?,
        "{} holds planted bugs: it was built with --cfg tidewire_planted",
        real.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunts() -> Vec<Hunt> {
        let hunt = |variant: &str, caught: Option<(&str, u64)>| Hunt {
            variant: variant.to_owned(),
            rule: "a rule".to_owned(),
            caught: caught.map(|(checker, seeds)| (checker.to_owned(), seeds)),
        };
        vec![hunt("One", Some(("S1", 3))), hunt("Two", None)]
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        let text = with_table(&text, &hunts()).expect("marks are there");
        assert!(text.starts_with("before\n") && text.ends_with("after\n"));
        let rows = read_table(&text).expect("a table");
        assert_eq!(
            rows,
            [("One".to_owned(), Some(3)), ("Two".to_owned(), None)]
        );
        assert_eq!(with_table(&text, &hunts()).expect("again"), text);
    }

    #[test]
    fn a_text_without_marks_is_refused() {
        assert!(with_table("no table here", &hunts()).is_err());
        assert!(read_table("nor here").is_err());
    }
}
