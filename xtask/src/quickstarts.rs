//! The quickstarts, followed word for word with what a stranger would install.

use std::fs;

use crate::browser;
use crate::node;
use crate::pack;
use crate::place;
use crate::process::{capture, command, run_tests};
use crate::programs;
use crate::setup::Consent;

/// Packs and builds what they install and start, and runs `tests/quickstarts`.
pub(crate) fn test(consent: Consent) -> anyhow::Result<()> {
    let chromium = browser::find_or_install(consent)?;
    if capture(command("curl", &place::root()).arg("--version")).is_err() {
        consent.apt_install(&["curl"], "to follow documents that use it")?;
    }
    let tarball = pack::npm_tarball(consent)?;
    let crates = pack::crates()?;
    let paste = place::target_dir().join("xtask/pack/paste.sh");
    fs::write(&paste, pack::paste(&tarball, &crates))?;
    programs::build_with_tests()?;
    let dir = place::root().join("tests/quickstarts");
    node::install(&dir, consent)?;
    run_tests(
        command("npm", &dir)
            .arg("test")
            .env("TEST_CHROMIUM", chromium)
            .env("TEST_PASTE", paste)
            .env("TEST_TARBALL", tarball)
            .env("TEST_CRATES", crates)
            .env("TEST_TARGET_DIR", place::target_dir())
            .env("TEST_BIN_DIR", programs::dir()),
    )
}
