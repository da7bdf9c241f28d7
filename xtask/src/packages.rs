//! The packages as strangers get them: packed, put elsewhere, and used.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::browser;
use crate::node;
use crate::pack::{self, CRATES};
use crate::place;
use crate::process::{collect, command, run_tests};
use crate::programs;
use crate::setup::Consent;

/// Packs everything and runs `tests/packages`.
pub(crate) fn test(consent: Consent) -> anyhow::Result<()> {
    let chromium = browser::find_or_install(consent)?;
    let tarball = pack::npm_tarball(consent)?;
    programs::build_with_tests()?;
    run_stranger()?;
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

/// Compiles and runs `tests/packages/rust` in a directory of its own, with the packed crates in place of
/// published ones.
fn run_stranger() -> anyhow::Result<()> {
    let work = place::target_dir().join("xtask/stranger");
    fs::create_dir_all(work.join("src"))?;
    let source = place::root().join("tests/packages/rust");
    for file in ["Cargo.toml", "src/main.rs"] {
        copy(&source.join(file), &work.join(file))?;
    }
    // What the tests have compiled and downloaded serves here too: the same versions, the same profile.
    copy(&place::root().join("Cargo.lock"), &work.join("Cargo.lock"))?;
    let crates = pack::crates()?;
    let mut cargo = command("cargo", &work);
    cargo
        .args(["run", "--quiet", "--offline"])
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        .env("CARGO_TARGET_DIR", place::target_dir());
    for name in CRATES {
        let path = crates.join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
        cargo.args([
            "--config",
            &format!("patch.crates-io.{name}.path='{}'", path.display()),
        ]);
    }
    let (printed, succeeded) = collect(&mut cargo)?;
    print!("{printed}");
    ensure!(
        succeeded && printed == "committed and seen: Buy milk\n",
        "a program with the packed crates did not work: see above"
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", place::short(from)))?;
    Ok(())
}
