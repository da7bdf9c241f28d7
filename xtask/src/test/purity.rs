//! What the parts without IO may depend on. A new dependency there is a decision: it is made by
//! adding its name here.

use anyhow::ensure;

use crate::place;
use crate::process::{capture, command};

/// All crates below `tidewire-core`, macros aside.
const CORE: [&str; 4] = ["bytes", "fastrand", "prost", "thiserror"];

/// Everything besides that the channel logic of the server may use. It must run in virtual time.
const CHANNEL: [&str; 18] = [
    "block-buffer",
    "cfg-if",
    "cpufeatures",
    "crypto-common",
    "digest",
    "generic-array",
    "itoa",
    "libc",
    "memchr",
    "serde",
    "serde_core",
    "serde_json",
    "sha2",
    "tidewire-core",
    "typenum",
    "version_check",
    "zmij",
    "ryu",
];

/// Compares `cargo tree` with the lists.
pub(super) fn check() -> anyhow::Result<()> {
    check_tree("tidewire-core", &CORE)?;
    let channel: Vec<&str> = CORE.iter().chain(&CHANNEL).copied().collect();
    check_tree("tidewire-server", &channel)
}

fn check_tree(package: &str, allowed: &[&str]) -> anyhow::Result<()> {
    let tree = capture(command("cargo", &place::root()).args([
        "tree",
        "--locked",
        "--package",
        package,
        "--no-default-features",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let strangers = strangers(&tree, package, allowed);
    ensure!(
        strangers.is_empty(),
        "{package} now depends on {}: keep it out, or list it in xtask/src/test/purity.rs with a reason",
        strangers.join(", ")
    );
    println!("{package}: every dependency is listed");
    Ok(())
}

fn names(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
}

fn strangers<'a>(tree: &'a str, package: &str, allowed: &[&str]) -> Vec<&'a str> {
    let mut found: Vec<&str> = names(tree)
        .filter(|name| *name != package && !allowed.contains(name))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_is_not_listed_is_named_once() {
        let tree = "tidewire-core v0.1.0 (/x)\nbytes v1.12.2\ntokio v1.50.0\nbytes v1.12.2 (*)\ntokio v1.50.0 (*)\n";
        assert_eq!(strangers(tree, "tidewire-core", &CORE), ["tokio"]);
    }
}
