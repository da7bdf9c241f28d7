//! The tests that drive real pages in Chromium.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::board;
use crate::middleboxes;
use crate::node;
use crate::place;
use crate::process::{command, run_tests};
use crate::programs;
use crate::setup::Consent;

/// Names that the browser goes by; Debian's comes first because it is what gets installed.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Builds what the pages need and runs `tests/browser`.
pub(crate) fn test(consent: Consent) -> anyhow::Result<()> {
    run_tests(&mut tests(consent)?)
}

/// Builds what the pages need; arguments choose files of `tests/browser`.
pub(crate) fn tests(consent: Consent) -> anyhow::Result<Command> {
    let chromium = find_or_install(consent)?;
    middleboxes::install(consent)?;
    board::build_page(consent)?;
    programs::build_with_tests()?;
    let dir = place::root().join("tests/browser");
    node::install(&dir, consent)?;
    let mut tests = command("npm", &dir);
    tests
        .args(["test", "--"])
        .env("TEST_CHROMIUM", chromium)
        .env("TEST_BIN_DIR", programs::dir());
    Ok(tests)
}

/// The browser's program, installed if need be.
pub(crate) fn find_or_install(consent: Consent) -> anyhow::Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    consent.apt_install(&["chromium"], "to test pages in a real browser")?;
    match find() {
        Some(found) => Ok(found),
        None => bail!("no Chromium found after installing it: put one on the PATH"),
    }
}

/// The browser's program, if there is one.
pub(crate) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").context("no PATH").ok()?;
    let dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    NAMES
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)))
        .find(|program| program.is_file())
}
