//! The end-to-end scenarios of native clients and of pages once more, over each transport that they do not take by themselves.

use std::fs;
use std::process::Command;
use std::thread;

use anyhow::{Context, ensure};

use crate::browser;
use crate::place;
use crate::process::run_tests_seen;
use crate::programs;
use crate::setup::Consent;
use crate::test::cargo_test;

/// Where the printed result stands: a line for each transport, with what native clients and pages did over it.
const DOCUMENT: &str = "docs/transports.md";

/// A single one, and whatever works in a network that changes all the time.
const OVER: [&str; 3] = ["sse", "long-poll", "chain"];

/// They mostly wait.
const THREADS: &str = "4";

/// What concerns the network or one transport in particular, and is played once.
const PLAYED_ONCE: [&str; 7] = [
    "middleboxes::",
    "proxies::",
    "stopped::",
    "tls::",
    // Servers that are broken in their WebSockets.
    "hostile::",
    "hostile_http::",
    // The README's programs choose for themselves.
    "quickstart::",
];

/// What is said of a link that lasts, in a network where none does.
const NEEDS_CALM: [&str; 4] = [
    "a_slow_reader_of_events_is_told_how_many_it_missed",
    "a_link_may_send_more_in_its_life_than_it_may_have_unsent",
    "when_one_of_two_servers_drains_no_view_leaves_live_and_no_write_waits",
    "a_server_that_is_alone_is_empty_soon_after_its_window",
];

/// The test files of pages that are about more than looks or one transport.
const PAGES: [&str; 7] = [
    "converge.test.js",
    "faults.test.js",
    "flicker.test.js",
    "page.test.js",
    "presence.test.js",
    "refusal.test.js",
    "restart.test.js",
];

/// Plays those of native clients, all at once, and holds the document to what came of it.
pub(crate) fn check() -> anyhow::Result<()> {
    programs::build_with_tests()?;
    let played = thread::scope(|scope| {
        let runs = OVER.map(|over| (over, scope.spawn(move || play(over))));
        let ended = runs.map(|(over, run)| (over, run.join()));
        let mut played = Vec::new();
        for (over, run) in ended {
            let run = run.map_err(|_| anyhow::anyhow!("the run over {over} panicked"))?;
            played.push((over, run.with_context(|| format!("over {over}"))?));
        }
        anyhow::Ok(played)
    })?;
    hold(1, &played)
}

/// Plays those of pages, each over one of the three in turn, and holds the document to what came of it.
pub(crate) fn check_pages(consent: Consent) -> anyhow::Result<()> {
    let mut played = OVER.map(|over| (over, 0));
    let mut tests = browser::tests(consent)?;
    tests.args(PAGES).env("TEST_TRANSPORT", "turns");
    run_tests_seen(&mut tests, |line| {
        let mut named = played.iter_mut();
        if line.starts_with("ok ")
            && let Some((_, passed)) =
                named.find(|(over, _)| line.contains(&format!(" - over {over}: ")))
        {
            *passed += 1;
        }
    })?;
    hold(2, &played)
}

/// The scenarios of pages, each over each of the three.
pub(crate) fn pages(consent: Consent) -> anyhow::Result<Command> {
    let mut tests = browser::tests(consent)?;
    tests.args(PAGES).env("TEST_TRANSPORT", OVER.join(","));
    Ok(tests)
}

/// Compares a column of the document's table with what was played.
fn hold(column: usize, played: &[(&str, u64)]) -> anyhow::Result<()> {
    let text = fs::read_to_string(place::root().join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    for (over, passed) in played {
        println!("over {over}: {passed} passed");
        let begins = format!("| `{over}` |");
        let row = text.lines().find(|line| line.starts_with(&begins));
        let cells: Vec<_> = row.unwrap_or_default().split(" | ").collect();
        let says = cells.get(column).map(|cell| cell.trim_end_matches(" |"));
        ensure!(
            says == Some(&format!("{passed} passed")),
            "{DOCUMENT} says {says:?} where {passed} passed over {over}"
        );
    }
    Ok(())
}

fn play(over: &str) -> anyhow::Result<u64> {
    let mut tests = cargo_test(&["--test", "native", "--", "--test-threads", THREADS])?;
    for skipped in PLAYED_ONCE {
        tests.args(["--skip", skipped]);
    }
    if over == "chain" {
        for skipped in NEEDS_CALM {
            tests.args(["--skip", skipped]);
        }
    }
    tests
        .env("TEST_BIN_DIR", programs::dir())
        .env("TEST_TRANSPORT", over);
    let mut passed = 0;
    run_tests_seen(&mut tests, |line| {
        let result = line.strip_prefix("test result: ok. ");
        let count = result.and_then(|it| it.split_once(" passed"));
        passed += count.map_or(0, |(count, _)| count.parse::<u64>().unwrap_or_default());
    })?;
    Ok(passed)
}
