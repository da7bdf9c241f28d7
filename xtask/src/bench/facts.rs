//! What machine the figures are from.

use std::fs;
use std::thread;

use crate::browser;
use crate::place;
use crate::process::{capture, command};

/// One line: processor, cores, kernel, and the versions of what was measured with.
pub(super) fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut facts = vec![
        format!("{cores} cores of {}", processor()),
        version("uname", &["-sr"]),
        version("rustc", &["--version"]),
        format!("node {}", version("node", &["--version"])),
    ];
    if let Some(chromium) = browser::find() {
        facts.push(version(&chromium.to_string_lossy(), &["--version"]));
    }
    facts.join("; ")
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.to_owned(),
    )
}

/// What a program says of itself, up to its build number.
fn version(program: &str, args: &[&str]) -> String {
    let said = capture(command(program, &place::root()).args(args)).unwrap_or_default();
    let line = said.lines().next().unwrap_or("unknown").trim();
    line.split(" (").next().unwrap_or(line).to_owned()
}
