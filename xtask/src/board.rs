//! The board: the demo's page and the programs that go with it.

use std::path::PathBuf;

use crate::freshness;
use crate::node;
use crate::npm;
use crate::place;
use crate::process::{command, run};
use crate::setup::Consent;

/// Where the page lies.
pub(crate) fn page_dir() -> PathBuf {
    place::root().join("examples/board/page")
}

/// Where [`build_programs`] puts programs. A debug build: it is what the tests need anyway, it is
/// there sooner, and one board's load is far below what it carries.
pub(crate) fn bin_dir() -> PathBuf {
    place::target_dir().join("debug")
}

/// Builds `examples/board/page/dist` and the npm package below it, unless they are fresh.
pub(crate) fn build_page(consent: Consent) -> anyhow::Result<()> {
    npm::build(consent)?;
    let dir = page_dir();
    node::install(&dir, consent)?;
    let inputs = [dir.clone(), npm::built_mark()];
    freshness::unless_fresh(
        &node::mark_of(&dir),
        &dir.join("dist/index.html"),
        &inputs,
        || node::script(&dir, "build"),
    )
}

/// Builds the programs that people and tests start as processes of their own.
pub(crate) fn build_programs() -> anyhow::Result<()> {
    run(command("cargo", &place::root()).args([
        "build",
        "--locked",
        "--package",
        "tidewire-server",
        "--package",
        "board",
        "--package",
        "quickstart-native",
    ]))
}
