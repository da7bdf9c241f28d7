//! `cargo xtask test`: every step, in three lanes, or the named ones in order.
//!
//! A step that fails does not stop the others: one run tells all that is wrong. No step is ever
//! skipped: what it needs is installed, or it fails and says what is missing.

mod lanes;
mod purity;
mod steps;

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::setup::Consent;

use self::lanes::Lane;
use self::steps::STEPS;
pub(crate) use self::steps::cargo_test;

/// One part of the test run.
struct Step {
    name: &'static str,
    /// What it proves, for `--help` and docs/testing.md.
    about: &'static str,
    lane: Lane,
    /// A step of another lane that makes what this one uses.
    after: Option<&'static str>,
    run: fn(Consent) -> anyhow::Result<()>,
}

struct Outcome {
    name: &'static str,
    error: Option<anyhow::Error>,
    took: Duration,
}

impl Outcome {
    /// Says how the step ended, and keeps it.
    fn told(name: &'static str, error: Option<anyhow::Error>, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        match &error {
            None => println!("== {name} passed in {seconds:.1} s"),
            Some(error) => println!("== {name} FAILED in {seconds:.1} s: {error:#}"),
        }
        Self { name, error, took }
    }
}

/// Runs one step and nothing around it: what the lanes start.
pub(crate) fn run_alone(name: &str, consent: Consent) -> anyhow::Result<()> {
    let steps = choose(&[name.to_owned()])?;
    steps.into_iter().try_for_each(|step| (step.run)(consent))
}

/// Runs the named steps, or all; prints each one's own output and a table at the end. Returns whether
/// all passed.
pub(crate) fn run(names: &[String], consent: Consent) -> anyhow::Result<bool> {
    let chosen = choose(names)?;
    let started = Instant::now();
    let outcomes: Vec<Outcome> = if names.is_empty() {
        lanes::run(consent)?
    } else {
        chosen
            .into_iter()
            .map(|step| run_step(step, consent))
            .collect()
    };
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.error.is_some())
        .count();
    print!("{}", table(&outcomes, started.elapsed()));
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    Ok(failed == 0)
}

/// The steps and what they prove, one a line.
pub(crate) fn list() -> String {
    let mut text = String::from(
        "Steps. All of them run in three lanes, one that computes and two that wait; named ones in their order:\n",
    );
    for step in &STEPS {
        text.push_str(&format!("  {:<11} {}\n", step.name, step.about));
    }
    text
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    if names.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    names
        .iter()
        .map(
            |name| match STEPS.iter().find(|step| step.name == name.as_str()) {
                Some(step) => Ok(step),
                None => bail!("no step `{name}`: {}", known_names()),
            },
        )
        .collect()
}

fn known_names() -> String {
    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    format!("the steps are {}", names.join(", "))
}

fn run_step(step: &Step, consent: Consent) -> Outcome {
    println!("\n== {}: {}", step.name, step.about);
    let started = Instant::now();
    let error = (step.run)(consent).err();
    Outcome::told(step.name, error, started.elapsed())
}

fn table(outcomes: &[Outcome], total: Duration) -> String {
    let mut text = String::from("\nstep         result      seconds\n");
    for outcome in outcomes {
        let result = if outcome.error.is_some() {
            "FAILED"
        } else {
            "passed"
        };
        text.push_str(&format!(
            "{:<12} {result:<8} {:>10.1}\n",
            outcome.name,
            outcome.took.as_secs_f64()
        ));
    }
    for outcome in outcomes {
        if let Some(error) = &outcome.error {
            text.push_str(&format!("{}: {error:#}\n", outcome.name));
        }
    }
    text.push_str(&format!("all steps took {:.1} s\n", total.as_secs_f64()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_names_mean_every_step_in_order() {
        let all: Vec<&str> = choose(&[])
            .expect("nothing to get wrong")
            .iter()
            .map(|step| step.name)
            .collect();
        let listed: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(all, listed);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_known_ones() {
        let error = choose(&["fmt".into(), "units".into()])
            .err()
            .expect("there is no `units`");
        let text = error.to_string();
        assert!(
            text.contains("no step `units`") && text.contains("unit, "),
            "{text}"
        );
    }

    #[test]
    fn the_table_shows_what_failed_and_why() {
        let outcomes = [
            Outcome {
                name: "fmt",
                error: None,
                took: Duration::from_millis(1240),
            },
            Outcome {
                name: "unit",
                error: Some(anyhow::anyhow!("two tests failed")),
                took: Duration::from_secs(61),
            },
        ];
        let text = table(&outcomes, Duration::from_secs(63));
        assert!(
            text.contains("fmt          passed          1.2\n"),
            "{text}"
        );
        assert!(
            text.contains("unit         FAILED         61.0\n"),
            "{text}"
        );
        assert!(text.contains("unit: two tests failed\n"), "{text}");
    }
}
