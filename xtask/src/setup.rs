//! System packages: installed only with consent, and never in silence.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;

use anyhow::{Context, bail};

use crate::place;
use crate::process::{capture, run};

/// Whether system packages may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// `--yes` or `CI=true`.
    Given,
    /// A person can be asked.
    Ask,
    /// Neither: what is missing is an error that says what to do.
    Refused,
}

impl Consent {
    /// What the flag, the environment and the terminal amount to.
    pub(crate) fn from_environment(yes: bool) -> Self {
        if yes || env::var("CI").is_ok_and(|ci| ci == "true") {
            Self::Given
        } else if io::stdin().is_terminal() && io::stderr().is_terminal() {
            Self::Ask
        } else {
            Self::Refused
        }
    }

    /// Installs Debian packages, which serve `purpose` ("to …").
    pub(crate) fn apt_install(self, packages: &[&str], purpose: &str) -> anyhow::Result<()> {
        let list = packages.join(" ");
        if capture(Command::new("apt-get").arg("--version")).is_err() {
            bail!("{list} needed {purpose}, and there is no apt-get here: install them by hand");
        }
        let agreed = match self {
            Self::Given => true,
            Self::Ask => ask(&format!("install {list} with apt-get {purpose}?"))?,
            Self::Refused => false,
        };
        if !agreed {
            bail!(
                "{list} needed {purpose}: run again with --yes, or `apt-get install {list}` first"
            );
        }
        // Steps of two lanes may need packages at the same time, and apt refuses the second.
        let turn = place::target_dir().join("xtask/apt.lock");
        fs::create_dir_all(place::target_dir().join("xtask"))?;
        let turn =
            File::create(&turn).with_context(|| format!("cannot write {}", turn.display()))?;
        turn.lock().context("cannot wait for apt's turn")?;
        eprintln!("installing {list} {purpose}");
        run(&mut as_root("apt-get", &["update", "-qq"]))?;
        let mut install = as_root(
            "apt-get",
            &["install", "-y", "-qq", "--no-install-recommends"],
        );
        run(install.args(packages))
    }
}

/// The version that apt would install, if any.
pub(crate) fn apt_candidate(package: &str) -> Option<String> {
    let policy = capture(Command::new("apt-cache").args(["policy", package])).ok()?;
    parse_candidate(&policy).map(str::to_owned)
}

fn parse_candidate(policy: &str) -> Option<&str> {
    let candidate = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (candidate != "(none)").then_some(candidate)
}

fn as_root(program: &str, args: &[&str]) -> Command {
    let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if is_root {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    };
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn ask(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_found_and_none_is_none() {
        let policy =
            "nodejs:\n  Installed: (none)\n  Candidate: 18.20.4+dfsg-1\n  Version table:\n";
        assert_eq!(parse_candidate(policy), Some("18.20.4+dfsg-1"));
        assert_eq!(parse_candidate("nodejs:\n  Candidate: (none)\n"), None);
        assert_eq!(parse_candidate(""), None);
    }

    #[test]
    fn without_consent_a_missing_package_is_one_line_that_says_what_to_do() {
        let error = Consent::Refused
            .apt_install(&["chromium"], "to test in a browser")
            .expect_err("nobody agreed");
        let text = error.to_string();
        assert!(text.contains("chromium") && text.contains("--yes") || text.contains("by hand"));
        assert!(!text.contains('\n'));
    }
}
