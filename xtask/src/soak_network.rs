//! `cargo xtask soak network`: the tests of networks at full length, and a ledger of them.

use std::time::Instant;

use anyhow::bail;

use crate::ledger::{Table, commit, today};
use crate::middleboxes;
use crate::process::collect;
use crate::programs;
use crate::setup::Consent;
use crate::test::cargo_test;
use crate::transports;

const TABLE: Table = Table {
    intro: "## Networks\n
Written by `cargo xtask soak network`: tests of every middlebox, raw and with native clients; the scenarios of pages in Chromium
over each transport; two clients that change one number while they are forced from transport to transport; clients over each
transport that are idle behind a cut of 30 s.\n",
    head: "\
| date | commit | tests | switches | changes | idle clients | minutes | result |
|---|---|---|---|---|---|---|---|
",
};

/// Those of the middleboxes by themselves, and those of native clients.
const TESTS: [&[&str]; 2] = [
    &["--test", "raw", "--", "--show-output"],
    &[
        "--test",
        "native",
        "--",
        "--show-output",
        "middleboxes::",
        "proxies::",
    ],
];

/// Runs the tests and appends what came of them; an error when one failed.
pub(crate) fn run(switches: u32, idle_minutes: u32, consent: Consent) -> anyhow::Result<()> {
    middleboxes::install(consent)?;
    programs::build_with_tests()?;
    let started = Instant::now();
    let mut printed = String::new();
    let mut passed = true;
    let mut all = vec![transports::pages(consent)?];
    for tests in TESTS {
        all.push(cargo_test(tests)?);
    }
    for mut tests in all {
        tests
            .env("TEST_BIN_DIR", programs::dir())
            .env("TIDEWIRE_SWITCHES", switches.to_string())
            .env("TIDEWIRE_IDLE_MINUTES", idle_minutes.to_string());
        let (text, success) = collect(&mut tests)?;
        print!("{text}");
        printed.push_str(&text);
        passed &= success;
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let seen = Seen::read(&printed);
    let row = seen.row(&today()?, &commit()?, idle_minutes, minutes, passed);
    TABLE.add(&row)?;
    println!("{row}");
    if !passed {
        bail!("tests of networks failed: what they said is above");
    }
    Ok(())
}

/// What the tests printed.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    passed: u32,
    failed: Vec<String>,
    switches: u64,
    changes: u64,
    idle: u64,
}

impl Seen {
    fn read(printed: &str) -> Self {
        let mut seen = Self::default();
        for line in printed.lines() {
            let words: Vec<&str> = line.split([' ', ',']).filter(|it| !it.is_empty()).collect();
            match words[..] {
                ["test", _, "...", "ok"] => seen.passed += 1,
                ["test", name, "...", "FAILED"] => seen.failed.push(name.into()),
                // As Node says it.
                ["ok", _, "-", "over", ..] => seen.passed += 1,
                ["not", "ok", _, "-", "over", ..] => seen.failed.push(words[4..].join(" ")),
                // As the tests say it.
                [switches, "switches", changes, "changes", "over", ..] => {
                    seen.switches = switches.parse().unwrap_or_default();
                    seen.changes = changes.parse().unwrap_or_default();
                }
                [clients, "clients", "idle", "for", ..] => {
                    seen.idle = clients.parse().unwrap_or_default();
                }
                _ => {}
            }
        }
        seen
    }

    fn row(
        &self,
        date: &str,
        commit: &str,
        idle_minutes: u32,
        minutes: f64,
        passed: bool,
    ) -> String {
        let Self {
            passed: count,
            switches,
            changes,
            idle,
            failed,
        } = self;
        let result = match (passed, &failed[..]) {
            (true, _) => "0 missed, 0 doubled, 0 connected again".to_owned(),
            (false, []) => "**failed**".to_owned(),
            (false, failed) => format!("**{} failed**: {}", failed.len(), failed.join(" ")),
        };
        format!(
            "| {date} | {commit} | {count} | {switches} | {changes} | {idle}, {idle_minutes} min | {minutes:.1} | {result} |"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_what_the_tests_printed() {
        let printed = "\
test proxies::a ... ok
ok 1 - over sse: two pages
test middleboxes::b ... FAILED
---- proxies::a stdout ----
6 clients, idle for 600 s
1000 switches, 4711 changes, over {Some(\"sse\"): 4}
test result: ok. 1 passed; 0 failed
";
        let seen = Seen::read(printed);
        let row = |passed| seen.row("2026-01-02", "abc", 10, 12.34, passed);
        let counts = "| 2026-01-02 | abc | 2 | 1000 | 4711 | 6, 10 min | 12.3 |";
        assert_eq!(
            row(true),
            format!("{counts} 0 missed, 0 doubled, 0 connected again |")
        );
        assert_eq!(
            row(false),
            format!("{counts} **1 failed**: middleboxes::b |")
        );
    }
}
