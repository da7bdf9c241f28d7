//! The programs of this repository that people and tests start as processes of their own.

use std::path::PathBuf;

use crate::lint;
use crate::place;
use crate::process::{command, run};

/// Where the programs are. A debug build: the tests need it anyway, it is there sooner, and a board's
/// load is far below what it carries.
pub(crate) fn dir() -> PathBuf {
    place::target_dir().join("debug")
}

/// Builds the demo's server.
pub(crate) fn build_board() -> anyhow::Result<()> {
    run(command("cargo", &place::root()).args(["build", "--locked", "--package", "board"]))
}

/// Builds every program and every test, as [`lint::check`] does. One command for both, so that they share their
/// dependencies: alone, the programs would be built without the features that only tests turn on.
pub(crate) fn build_with_tests() -> anyhow::Result<()> {
    run(lint::cargo()?.args(["build", "--locked", "--workspace", "--all-targets"]))
}
