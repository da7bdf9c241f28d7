//! Three lanes of steps at a time: one compiles and computes, the others mostly wait.
//!
//! Each step is a process of this program with its output in a file, which is shown when the step has
//! ended. Cargo's own locks keep two builds out of one directory.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::place;
use crate::process::command;
use crate::setup::Consent;

use super::steps::STEPS;
use super::{Outcome, Step};

/// Which steps run one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The compiler, or a program that computes, keeps the cores busy.
    Computes,
    /// Package managers, and what they install, have to be waited for.
    Installs,
    /// Servers and pages have to be waited for.
    Serves,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Computes, Self::Installs, Self::Serves];
}

/// The steps that have ended, well or not.
#[derive(Default)]
struct Ended {
    names: Mutex<BTreeSet<&'static str>>,
    changed: Condvar,
}

impl Ended {
    fn note(&self, name: &'static str) {
        self.names.lock().expect("no holder panics").insert(name);
        self.changed.notify_all();
    }

    fn wait_for(&self, name: &'static str) {
        let names = self.names.lock().expect("no holder panics");
        let is_missing = |names: &mut BTreeSet<_>| !names.contains(name);
        drop(
            self.changed
                .wait_while(names, is_missing)
                .expect("no holder panics"),
        );
    }
}

/// Begins the line of an error on the standard error of a step's process (`main.rs`).
const ERROR: &str = "error: ";

/// Runs all steps, the lanes at the same time; outcomes come in the order of the table of steps.
pub(super) fn run(consent: Consent) -> anyhow::Result<Vec<Outcome>> {
    let program = keep_this_program()?;
    let output = Mutex::new(());
    let ended = Ended::default();
    let run_lane = |lane: Lane| {
        let steps = STEPS.iter().filter(|step| step.lane == lane);
        let outcomes = steps.map(|step| {
            if let Some(before) = step.after {
                ended.wait_for(before);
            }
            let outcome = run_apart(&program, step, consent, &output);
            ended.note(step.name);
            outcome
        });
        outcomes.collect::<Vec<Outcome>>()
    };
    let mut outcomes = thread::scope(|scope| {
        let lanes = Lane::ALL.map(|lane| scope.spawn(move || run_lane(lane)));
        let outcomes = lanes
            .into_iter()
            .map(|lane| lane.join().expect("a lane does not panic"));
        outcomes.flatten().collect::<Vec<Outcome>>()
    });
    outcomes.sort_by_key(|outcome| STEPS.iter().position(|step| step.name == outcome.name));
    Ok(outcomes)
}

/// A copy of this program: a step that builds everything replaces the original.
fn keep_this_program() -> anyhow::Result<PathBuf> {
    let folder = place::target_dir().join("xtask/test");
    fs::create_dir_all(&folder)?;
    let copy = folder.join("xtask");
    let original = env::current_exe().context("cannot tell this program's own path")?;
    // A former copy may be running somewhere: it is replaced, not written to.
    let fresh = folder.join("xtask.new");
    fs::copy(&original, &fresh).with_context(|| format!("cannot copy {}", original.display()))?;
    fs::rename(&fresh, &copy)?;
    Ok(copy)
}

/// Runs one step in a process of its own and shows what it printed, once `output` is free.
fn run_apart(program: &Path, step: &Step, consent: Consent, output: &Mutex<()>) -> Outcome {
    eprintln!("== {} begins", step.name);
    let started = Instant::now();
    let log = place::target_dir().join(format!("xtask/test/{}.log", step.name));
    let result = start(program, step.name, consent, &log);
    let took = started.elapsed();
    let _shown_alone = output.lock();
    println!("\n== {}: {}", step.name, step.about);
    let printed = fs::read(&log).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed);
    let error = match result {
        Ok(true) => None,
        Ok(false) => Some(last_error(&printed)),
        Err(error) => Some(error),
    };
    println!("{printed}");
    Outcome::told(step.name, error, took)
}

/// Whether the step passed.
fn start(program: &Path, name: &str, consent: Consent, log: &Path) -> anyhow::Result<bool> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut this_program = command(program, &place::root());
    if consent == Consent::Given {
        this_program.arg("--yes");
    }
    let status = this_program
        .args(["test", "--alone", name])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .context("cannot start this program again")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(_) => Ok(false),
        None => bail!("ended with {status}"),
    }
}

/// What a step said last that it failed of.
fn last_error(printed: &str) -> anyhow::Error {
    let lines: Vec<&str> = printed.lines().collect();
    let begin = lines.iter().rposition(|line| line.starts_with(ERROR));
    let text = begin.map_or_else(
        || "no reason given".to_owned(),
        |at| lines[at..].join("\n")[ERROR.len()..].to_owned(),
    );
    anyhow::anyhow!(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_quoted_whole() {
        let printed = "error: first\nmore\nerror: two tests failed\n    a\n    b\n";
        assert_eq!(
            last_error(printed).to_string(),
            "two tests failed\n    a\n    b"
        );
        assert_eq!(last_error("error: alone").to_string(), "alone");
        assert_eq!(last_error("nothing").to_string(), "no reason given");
    }

    #[test]
    fn every_lane_has_steps_and_nothing_runs_in_two() {
        for lane in Lane::ALL {
            assert!(STEPS.iter().any(|step| step.lane == lane), "{lane:?}");
        }
        for (index, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..index].iter().all(|other| other.name != step.name));
        }
    }

    #[test]
    fn a_step_waits_for_one_that_stands_before_it() {
        for (index, step) in STEPS.iter().enumerate() {
            if let Some(before) = step.after {
                assert!(
                    STEPS[..index].iter().any(|other| other.name == before),
                    "{before}"
                );
            }
        }
        let ended = Ended::default();
        thread::scope(|scope| {
            let waits = scope.spawn(|| ended.wait_for("first"));
            ended.note("another");
            ended.note("first");
            waits.join().expect("it was told");
        });
    }
}
