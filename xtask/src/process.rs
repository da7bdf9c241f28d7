//! Child processes: shown before they start, no standard input, an error that names the command.

use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::failures::Failures;

/// A command that runs in `dir`.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    command
}

/// Runs a command whose output is progress: all of it goes to standard error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    finish(command.stdout(stderr))
}

/// Runs a command whose standard output is a result, and is passed on as ours.
pub(crate) fn run_through(command: &mut Command) -> anyhow::Result<()> {
    finish(command.stdout(Stdio::inherit()))
}

/// Like [`run_through`] for a test runner: the error says again which tests failed and why.
pub(crate) fn run_tests(command: &mut Command) -> anyhow::Result<()> {
    run_tests_seen(command, |_| ())
}

/// The same; each line is shown to somebody too.
pub(crate) fn run_tests_seen(
    command: &mut Command,
    mut see: impl FnMut(&str),
) -> anyhow::Result<()> {
    eprintln!("  $ {}", show(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    let mut failures = Failures::new();
    let stdout = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        failures.read(&line);
        see(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` ended with {status}{}", show(command), failures.text());
    }
    Ok(())
}

/// Runs a command quietly and returns what it printed on standard output.
pub(crate) fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            show(command),
            output.status,
            stderr.trim()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed no UTF-8", show(command)))
}

/// Runs a command, showing its progress; returns what it printed on standard output, and whether it
/// succeeded.
pub(crate) fn collect(command: &mut Command) -> anyhow::Result<(String, bool)> {
    eprintln!("  $ {}", show(command));
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    let printed = String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed no UTF-8", show(command)))?;
    Ok((printed, output.status.success()))
}

/// The command line as a person would type it, quoted only where that is needed to read it.
pub(crate) fn show(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args().map(|arg| arg.to_string_lossy()) {
        line.push(' ');
        if arg.is_empty() || arg.contains(char::is_whitespace) {
            line.push('\'');
            line.push_str(&arg);
            line.push('\'');
        } else {
            line.push_str(&arg);
        }
    }
    line
}

fn finish(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("  $ {}", show(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", show(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error = capture(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]))
            .expect_err("the command fails");
        let text = error.to_string();
        assert!(text.contains("sh -c 'echo no such thing"), "{text}");
        assert!(text.ends_with("no such thing"), "{text}");
    }

    #[test]
    fn a_failed_test_run_says_again_what_failed() {
        let script = "echo ok 1 - a; echo not ok 2 - b; echo '  ...'; exit 1";
        let error = run_tests(Command::new("sh").args(["-c", script])).expect_err("it fails");
        let text = error.to_string();
        assert!(
            text.contains("not ok 2 - b") && !text.ends_with("ok 1 - a"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = capture(&mut Command::new("tidewire-no-such-program"))
            .expect_err("there is no such program");
        assert!(error.to_string().contains("tidewire-no-such-program"));
    }
}
