//! Node.js and npm: there and new enough; and a package directory installed from its lockfile.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::freshness;
use crate::place;
use crate::process::{capture, command, run, run_through};
use crate::programs;
use crate::setup::{self, Consent};

/// The oldest Node.js that the page's bundler runs on.
const NODE_VERSION: (u32, u32) = (20, 19);

/// Makes sure of node and npm, installing them where the system's packages are new enough.
pub(crate) fn ensure(consent: Consent) -> anyhow::Result<()> {
    if version("node").is_none() {
        let (major, minor) = NODE_VERSION;
        let offered = setup::apt_candidate("nodejs").and_then(|text| parse_version(&text));
        ensure!(
            offered.is_some_and(|offered| offered >= NODE_VERSION),
            "node is missing and the system offers no {major}.{minor} or newer: install it from nodejs.org"
        );
        consent.apt_install(&["nodejs"], "to build the npm package and the page")?;
    }
    if version("npm").is_none() {
        consent.apt_install(&["npm"], "to build the npm package and the page")?;
    }
    let found = version("node").context("node does not say its version")?;
    ensure!(
        found >= NODE_VERSION,
        "node is {}.{}: {}.{} or newer is needed",
        found.0,
        found.1,
        NODE_VERSION.0,
        NODE_VERSION.1
    );
    Ok(())
}

/// `npm ci` in `dir`, unless its `node_modules` is as new as its lockfile.
pub(crate) fn install(dir: &Path, consent: Consent) -> anyhow::Result<()> {
    ensure(consent)?;
    let lockfile = dir.join("package-lock.json");
    if !lockfile.is_file() {
        bail!(
            "{} is missing: commit the lockfile",
            place::short(&lockfile)
        );
    }
    let installed = dir.join("node_modules/.package-lock.json");
    if freshness::is_fresh(&installed, &[lockfile, dir.join("package.json")])? {
        return Ok(());
    }
    eprintln!(
        "installing the npm packages of {} from its lockfile",
        place::short(dir)
    );
    run(command("npm", dir).args(["ci", "--no-audit", "--no-fund"]))
}

/// `npm run SCRIPT` in `dir`; what it prints is progress.
pub(crate) fn script(dir: &Path, name: &str) -> anyhow::Result<()> {
    run(command("npm", dir).args(["run", "--silent", name]))
}

/// `npm test` in `dir`: its report is a result, and ours. It finds the built programs.
pub(crate) fn test(dir: &Path) -> anyhow::Result<()> {
    run_through(
        command("npm", dir)
            .args(["run", "--silent", "test"])
            .env("TEST_BIN_DIR", programs::dir()),
    )
}

/// The mark of a finished build in `dir`; kept where `npm ci` removes it and git ignores it.
pub(crate) fn mark_of(dir: &Path) -> PathBuf {
    dir.join("node_modules/.tidewire-built")
}

fn version(program: &str) -> Option<(u32, u32)> {
    parse_version(&capture(Command::new(program).arg("--version")).ok()?)
}

/// `v20.20.2` or Debian's `20.20.2+dfsg-1` → `(20, 20)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_and_of_packages_are_read_alike() {
        assert_eq!(parse_version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(parse_version("18.20.4+dfsg-1~deb12u3"), Some((18, 20)));
        assert_eq!(parse_version("11.19.1"), Some((11, 19)));
        assert_eq!(parse_version("(none)"), None);
    }
}
