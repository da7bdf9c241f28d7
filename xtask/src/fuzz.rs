//! The fuzz targets of tests/fuzz. A test run tries their corpora, whole and damaged, in the ordinary build;
//! `cargo xtask soak fuzz` goes on under libFuzzer, two targets at a time. Finds are kept as regressions.
//!
//! The stable compiler can instrument for coverage by itself; only libFuzzer's own C++ needs a
//! compiler besides. The instrumented build has a target directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail, ensure};

use crate::ledger::{self, Table};
use crate::place;
use crate::process::{capture, command, run, run_through, show};
use crate::setup::Consent;
use crate::sim;

/// The targets, as `tidewire_fuzz::TARGETS` has them.
const TARGETS: [&str; 10] = [
    "frames",
    "frames-json",
    "values",
    "stored",
    "session",
    "channel",
    "config",
    "events",
    "http-request",
    "http-response",
];

/// How many run at a time.
const PARALLEL: usize = 2;

/// Longest input that is tried. Everything that is kept was found with far shorter ones.
const INPUT_BYTES_MAX: usize = 2048;

/// Coverage that libFuzzer is guided by: which edges were taken, what was compared with what.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

const TABLE: Table = Table {
    intro: "## Fuzzing\n
Written by `cargo xtask soak fuzz`: executions of each target.\n",
    head: "\
| date | commit | seconds each | executions | result |
|---|---|---|---|---|
",
};

/// What a fuzzer did.
struct Outcome {
    target: &'static str,
    executions: u64,
    /// What it printed last, and the input, if something does not hold.
    find: Option<(String, PathBuf)>,
}

/// Tries the corpora, whole and damaged in the same ways each time; an error when something was found.
pub(crate) fn sample() -> anyhow::Result<()> {
    sim::build()?;
    let program = place::target_dir().join("sim/tidewire-fuzz");
    run_through(&mut command(program, &place::root()))
}

/// Fuzzes the named targets, or all, and appends what came of it to the ledger. With `keep`, inputs
/// that reach what no kept one reaches are added to the corpus, and it is minimised.
pub(crate) fn soak(
    names: &[String],
    seconds: u32,
    keep: bool,
    consent: Consent,
) -> anyhow::Result<()> {
    let targets: Vec<&'static str> = TARGETS
        .into_iter()
        .filter(|target| names.is_empty() || names.iter().any(|name| name == target))
        .collect();
    if let Some(name) = names.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("no fuzz target `{name}`: they are {}", TARGETS.join(", "));
    }
    let outcomes = fuzz(&targets, seconds, consent)?;
    let row = ledger_row(&ledger::today()?, &ledger::commit()?, seconds, &outcomes);
    TABLE.add(&row)?;
    println!("{row}");
    if keep {
        targets.into_iter().try_for_each(minimise)?;
    }
    judge(&outcomes)
}

fn judge(outcomes: &[Outcome]) -> anyhow::Result<()> {
    for outcome in outcomes {
        if let Some((words, input)) = &outcome.find {
            println!(
                "{}: {words}\n  input {}\n  again TIDEWIRE_FUZZ_TARGET={} {} {}\n  \
                 it is replayed by `cargo test -p tidewire-fuzz` from now on: give it a name",
                outcome.target,
                place::short(input),
                outcome.target,
                place::short(&program()?),
                place::short(input),
            );
        }
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.find.is_some())
        .map(|outcome| outcome.target)
        .collect();
    ensure!(
        failed.is_empty(),
        "found something in {}",
        failed.join(", ")
    );
    Ok(())
}

fn fuzz(targets: &[&'static str], seconds: u32, consent: Consent) -> anyhow::Result<Vec<Outcome>> {
    build(consent)?;
    let program = program()?;
    let waiting = Mutex::new(targets.iter().copied());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no holder panics").next();
                    let Some(target) = next else { break };
                    let outcome = fuzz_one(&program, target, seconds);
                    if let Ok(outcome) = &outcome {
                        println!("{target}: {} executions", outcome.executions);
                    }
                    outcomes.lock().expect("no holder panics").push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no holder panics");
    let mut outcomes = outcomes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    outcomes.sort_by_key(|outcome| targets.iter().position(|name| *name == outcome.target));
    Ok(outcomes)
}

fn fuzz_one(program: &Path, target: &'static str, seconds: u32) -> anyhow::Result<Outcome> {
    let found = fresh_dir(&work_dir(target).join("found"))?;
    let mut fuzzer = fuzzer(program, target);
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024"]);
    let dictionary = source_dir().join(format!("dictionaries/{target}.dict"));
    if dictionary.is_file() {
        fuzzer.arg(format!("-dict={}", dictionary.display()));
    }
    // What is new goes to the first directory; the kept corpus is only read.
    let grown = work_dir(target).join("corpus");
    fs::create_dir_all(&grown)?;
    fuzzer.args([&grown, &corpus_dir(target)]);
    let output = fuzzer
        .output()
        .with_context(|| format!("cannot start `{}`", show(&fuzzer)))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let executions = statistic(&log, "number_of_executed_units").unwrap_or(0);
    if output.status.success() {
        ensure!(executions > 0, "{target} executed nothing:\n{log}");
        return Ok(Outcome {
            target,
            executions,
            find: None,
        });
    }
    let input = fs::read_dir(&found)?
        .next()
        .with_context(|| format!("{target} ended with {}:\n{log}", output.status))??
        .path();
    Ok(Outcome {
        target,
        executions,
        find: Some((last_words(&log), keep_find(target, &input)?)),
    })
}

/// Puts an input that something was found with into the corpus.
fn keep_find(target: &str, input: &Path) -> anyhow::Result<PathBuf> {
    // libFuzzer's names are KIND-SHA1.
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let kept = corpus_dir(target).join(format!("find-{}", name.get(..18).unwrap_or(&name)));
    fs::copy(input, &kept).with_context(|| format!("cannot keep {}", input.display()))?;
    Ok(kept)
}

/// Leaves the fewest inputs that reach everything that old and new ones reach. Finds stay.
fn minimise(target: &'static str) -> anyhow::Result<()> {
    let corpus = corpus_dir(target);
    let merged = fresh_dir(&work_dir(target).join("merged"))?;
    let mut merge = fuzzer(&program()?, target);
    // Edges alone, not how often each was taken: hundreds of files say no more to a person.
    merge.args(["-set_cover_merge=1", "-use_counters=0"]);
    merge.args([&merged, &corpus, &work_dir(target).join("corpus")]);
    run(&mut merge)?;
    for input in fs::read_dir(&corpus)? {
        let path = input?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("find-") {
            fs::remove_file(&path)?;
        }
    }
    let mut kept = 0;
    for input in fs::read_dir(&merged)? {
        let path = input?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The first digits of the input's SHA-1: the same input, the same name.
        fs::copy(&path, corpus.join(name.get(..12).unwrap_or(&name)))?;
        kept += 1;
    }
    println!("{target}: {kept} inputs are kept");
    Ok(())
}

fn build(consent: Consent) -> anyhow::Result<()> {
    if capture(Command::new("c++").arg("--version")).is_err() {
        consent.apt_install(&["g++"], "to compile libFuzzer")?;
    }
    let root = place::root();
    let mut cargo = command("cargo", &root);
    cargo
        .args(["build", "--locked", "--profile", "fuzz", "--target"])
        .arg(host()?)
        .args(["--manifest-path", "tests/fuzz/libfuzzer/Cargo.toml"])
        .env("CARGO_TARGET_DIR", build_dir())
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", RUSTFLAGS);
    run(&mut cargo)
}

/// The compiler's own target. Named in the build, so that macros and build scripts, which run in the
/// compiler, are not instrumented.
fn host() -> anyhow::Result<String> {
    let version = capture(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc does not say its host")
}

fn program() -> anyhow::Result<PathBuf> {
    Ok(build_dir().join(host()?).join("fuzz/tidewire-libfuzzer"))
}

fn fuzzer(program: &Path, target: &str) -> Command {
    let mut fuzzer = command(program, &place::root());
    fuzzer
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .env("TIDEWIRE_FUZZ_TARGET", target)
        .stdin(Stdio::null());
    fuzzer
}

fn build_dir() -> PathBuf {
    place::target_dir().join("fuzz")
}

fn work_dir(target: &str) -> PathBuf {
    build_dir().join("work").join(target)
}

fn source_dir() -> PathBuf {
    place::root().join("tests/fuzz")
}

fn corpus_dir(target: &str) -> PathBuf {
    source_dir().join("corpus").join(target)
}

fn fresh_dir(path: &Path) -> anyhow::Result<PathBuf> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_path_buf())
}

/// `stat::NAME: NUMBER` of libFuzzer's last lines.
fn statistic(log: &str, name: &str) -> Option<u64> {
    log.lines()
        .filter_map(|line| line.strip_prefix("stat::")?.split_once(':'))
        .find(|(found, _)| *found == name)?
        .1
        .trim()
        .parse()
        .ok()
}

/// The panic's message, else libFuzzer's summary.
fn last_words(log: &str) -> String {
    let mut lines = log.lines();
    if let Some(place) = lines.find(|line| line.contains("panicked at ")) {
        let message: Vec<&str> = lines
            .take_while(|line| !line.starts_with("note:"))
            .take(4)
            .collect();
        return format!("{place} {}", message.join(" "));
    }
    log.lines()
        .find(|line| line.starts_with("SUMMARY"))
        .unwrap_or("it ended without a word")
        .to_owned()
}

fn ledger_row(date: &str, commit: &str, seconds: u32, outcomes: &[Outcome]) -> String {
    let counts: Vec<String> = outcomes
        .iter()
        .map(|outcome| format!("{} {}", outcome.target, outcome.executions))
        .collect();
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.find.is_some())
        .map(|outcome| outcome.target)
        .collect();
    let result = match failed[..] {
        [] => "passed".into(),
        _ => format!("**found**: {}", failed.join(" ")),
    };
    format!(
        "| {date} | {commit} | {seconds} | {} | {result} |",
        counts.join(" · ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
#2 INITED cov: 10
thread '<unnamed>' panicked at tests/fuzz/src/values.rs:81:9:
assertion failed
note: run with `RUST_BACKTRACE=1`
SUMMARY: libFuzzer: deadly signal
stat::number_of_executed_units: 17118
stat::peak_rss_mb:              100
";

    #[test]
    fn executions_and_last_words_are_read_from_the_log() {
        assert_eq!(statistic(LOG, "number_of_executed_units"), Some(17118));
        assert_eq!(statistic(LOG, "executed"), None);
        assert!(last_words(LOG).ends_with("values.rs:81:9: assertion failed"));
        assert!(last_words("SUMMARY: libFuzzer: timeout").contains("timeout"));
    }

    #[test]
    fn a_row_names_the_targets_that_found_something() {
        let outcome = |target, find| Outcome {
            target,
            executions: 7,
            find,
        };
        let found = Some((String::new(), PathBuf::new()));
        let row = ledger_row("d", "c", 60, &[outcome("a", None), outcome("b", found)]);
        assert_eq!(row, "| d | c | 60 | a 7 · b 7 | **found**: b |");
    }

    #[test]
    fn every_target_has_a_corpus_and_every_corpus_a_target() {
        let mut corpora: Vec<String> = fs::read_dir(source_dir().join("corpus"))
            .expect("there are corpora")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        corpora.sort();
        let mut targets = TARGETS.to_vec();
        targets.sort_unstable();
        assert_eq!(corpora, targets);
    }
}
