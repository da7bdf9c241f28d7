//! The native end-to-end scenarios once more, over each transport that they do not take by themselves.

use std::fs;
use std::thread;

use anyhow::{Context, ensure};

use crate::place;
use crate::process::run_tests_counted;
use crate::programs;
use crate::test::cargo_test;

/// Where the printed result stands, a line for each transport.
const DOCUMENT: &str = "docs/transports.md";

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

/// Plays them all at once, and holds the document to what came of it.
pub(crate) fn check() -> anyhow::Result<()> {
    programs::build_with_tests()?;
    let played = thread::scope(|scope| {
        let runs =
            ["sse", "long-poll", "chain"].map(|over| (over, scope.spawn(move || play(over))));
        let ended = runs.map(|(over, run)| (over, run.join()));
        let mut played = Vec::new();
        for (over, run) in ended {
            let run = run.map_err(|_| anyhow::anyhow!("the run over {over} panicked"))?;
            played.push((over, run.with_context(|| format!("over {over}"))?));
        }
        anyhow::Ok(played)
    })?;
    let text = fs::read_to_string(place::root().join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    for (over, passed) in played {
        let row = format!("| `{over}` | {passed} passed |");
        println!("{row}");
        ensure!(text.contains(&row), "{DOCUMENT} does not say `{row}`");
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
    run_tests_counted(&mut tests)
}
