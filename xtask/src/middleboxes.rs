//! The proxies that clients go through in tests/middleboxes.

use std::env;
use std::path::PathBuf;

use anyhow::bail;

use crate::setup::Consent;

/// Programs, which Debian's packages are called by too.
const PROGRAMS: [&str; 3] = ["nginx", "haproxy", "tinyproxy"];

/// Installs those that are missing.
pub(crate) fn install(consent: Consent) -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    consent.apt_install(
        &missing,
        "to test behind real proxies; their services need not run",
    )?;
    match &self::missing()[..] {
        [] => Ok(()),
        missing => bail!("no {} found after installing", missing.join(" and no ")),
    }
}

fn missing() -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian puts them where only root looks.
    let dirs = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let dirs: Vec<PathBuf> = dirs.collect();
    let is_missing = |name: &&str| !dirs.iter().any(|dir| dir.join(name).is_file());
    PROGRAMS.into_iter().filter(is_missing).collect()
}
