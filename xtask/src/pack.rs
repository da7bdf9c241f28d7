//! `cargo xtask pack`: what is published, as the files that a stranger would install.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::freshness;
use crate::npm;
use crate::place;
use crate::process::{capture, command};
use crate::setup::Consent;

/// Packs everything and prints where each file lies.
pub(crate) fn run(consent: Consent) -> anyhow::Result<()> {
    println!("{}", npm_tarball(consent)?.display());
    Ok(())
}

/// The npm package as `npm pack` makes it, unless it is newer than what goes into it.
pub(crate) fn npm_tarball(consent: Consent) -> anyhow::Result<PathBuf> {
    npm::build(consent)?;
    let package = npm::dir();
    let out = place::target_dir().join("xtask/pack");
    let tarball = out.join("tidewire.tgz");
    let inputs = [
        npm::built_mark(),
        package.join("package.json"),
        package.join("README.md"),
        package.join("LICENSE-APACHE"),
        package.join("LICENSE-MIT"),
    ];
    if freshness::is_fresh(&tarball, &inputs)? {
        return Ok(tarball);
    }
    fs::create_dir_all(&out)?;
    let printed = capture(
        command("npm", &package)
            .args(["pack", "--silent", "--pack-destination"])
            .arg(&out),
    )?;
    // Its own name has the version in it.
    let packed = out.join(printed.trim());
    fs::rename(&packed, &tarball)
        .with_context(|| format!("npm pack left no {}", packed.display()))?;
    Ok(tarball)
}
