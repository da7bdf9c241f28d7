//! The npm package as strangers get it: packed, put elsewhere, and used. The crates are what the
//! quickstarts install.

use crate::browser;
use crate::node;
use crate::pack;
use crate::place;
use crate::process::{command, run_tests};
use crate::programs;
use crate::setup::Consent;

/// Packs it and runs `tests/packages`.
pub(crate) fn test(consent: Consent) -> anyhow::Result<()> {
    let chromium = browser::find_or_install(consent)?;
    let tarball = pack::npm_tarball(consent)?;
    programs::build_with_tests()?;
    let dir = place::root().join("tests/packages");
    node::install(&dir, consent)?;
    run_tests(
        command("npm", &dir)
            .arg("test")
            .env("TEST_CHROMIUM", chromium)
            .env("TEST_BIN_DIR", programs::dir())
            .env("TEST_TARBALL", tarball),
    )
}
