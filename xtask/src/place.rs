//! Where things are: the repository, and cargo's target directory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The repository's root. Known at run time from cargo, so that a moved clone finds itself.
pub(crate) fn root() -> PathBuf {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .expect("xtask lies in the repository's root")
        .to_path_buf()
}

/// Cargo's target directory, `CARGO_TARGET_DIR` or `target`.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// This program where cargo calls it in the compiler's place: cargo knows builds by the compiler's path, so that it
/// must not change.
pub(crate) fn compiler() -> anyhow::Result<PathBuf> {
    let folder = target_dir().join("xtask/compiler");
    let place = folder.join("xtask");
    let original = env::current_exe().context("cannot tell this program's own path")?;
    let program = match fs::read(&original) {
        Ok(program) => program,
        // A step has built another one in its place.
        Err(_) if place.exists() => return Ok(place),
        Err(error) => bail!("cannot read {}: {error}", original.display()),
    };
    if fs::read(&place).ok().as_ref() != Some(&program) {
        fs::create_dir_all(&folder)?;
        // Another step may be running it: it is replaced, not written to.
        let fresh = folder.join(format!("xtask.{}", std::process::id()));
        fs::copy(&original, &fresh)
            .with_context(|| format!("cannot copy {}", original.display()))?;
        fs::rename(&fresh, &place)?;
    }
    Ok(place)
}

/// A path below the root as a person would write it.
pub(crate) fn short(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
