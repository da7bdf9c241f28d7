//! The debug build, linted while it compiles: clippy takes the compiler's place for our own crates, and rustdoc
//! reads each of them right after.
//!
//! `cargo clippy` and `cargo doc` alone would have every dependency checked before, which the debug build then
//! compiles a second time.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::place;
use crate::process::{collect, command};

/// Set while cargo compiles so: this program is then called as a compiler, and puts documentation there.
const COMPILES: &str = "TIDEWIRE_XTASK_LINTS";

/// Builds every program, test and example; an error when compiler, clippy or rustdoc had anything to say, now or
/// when the crate was compiled.
pub(crate) fn check() -> anyhow::Result<()> {
    let (printed, succeeded) = collect(cargo()?.args([
        "build",
        "--locked",
        "--workspace",
        "--all-targets",
        "--message-format=json",
    ]))?;
    // A crate and its tests say much twice.
    let mut warnings = BTreeSet::new();
    for line in printed.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let message = &message["message"];
        // The last one only says how many there were.
        let is_sum = message["spans"].as_array().is_none_or(Vec::is_empty)
            && message["code"].is_null()
            && message["level"] == "warning";
        if let Some(text) = message["rendered"].as_str().filter(|_| !is_sum) {
            warnings.insert(text.to_owned());
        }
    }
    for text in &warnings {
        println!("{text}");
    }
    if !warnings.is_empty() || !succeeded {
        let many = warnings.len();
        bail!("compiler, clippy or rustdoc said {many} things about our crates");
    }
    Ok(())
}

/// Cargo for the debug build that all steps share: another compiler's place would be another build.
pub(crate) fn cargo() -> anyhow::Result<Command> {
    let mut cargo = command("cargo", &place::root());
    cargo
        .env("RUSTC_WORKSPACE_WRAPPER", place::compiler()?)
        .env(COMPILES, place::target_dir().join("xtask/lint/doc"));
    Ok(cargo)
}

/// Whether cargo called this program in the place of the compiler.
pub(crate) fn compiles() -> bool {
    env::var_os(COMPILES).is_some()
}

/// Compiles and lints a crate of ours: the arguments are the compiler and its own.
pub(crate) fn compile(mut args: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let compiler = args.next().context("cargo names the compiler first")?;
    let args: Vec<OsString> = args.collect();
    let crate_name = after(&args, "--crate-name");
    let is_crate = after(&args, "--out-dir").is_some() && crate_name.is_some();
    let is_ours = is_crate && crate_name.is_some_and(|name| name != "build_script_build");
    if !is_ours {
        return run(Command::new(&compiler).args(&args));
    }
    // As `cargo clippy` calls it: the compiler, and then what is for it.
    let compiled = run(tool("clippy-driver").arg(&compiler).args(&args))?;
    let is_documented = !args.iter().any(|arg| arg == "--test");
    if compiled != ExitCode::SUCCESS || !is_documented {
        return Ok(compiled);
    }
    let is_program = after(&args, "--crate-type").is_some_and(|kind| kind == "bin");
    let mut rustdoc = tool("rustdoc");
    let out = env::var_os(COMPILES).unwrap_or_default();
    rustdoc.args(for_rustdoc(&args, &out));
    if is_program {
        // As `cargo doc` does: nobody else can name what a program has.
        let links = "-Arustdoc::private_intra_doc_links";
        rustdoc.args(["--document-private-items", links]);
    }
    run(&mut rustdoc)
}

/// The compiler's arguments as rustdoc takes them.
fn for_rustdoc(args: &[OsString], out: &OsStr) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == "--out-dir" {
            args.next();
        } else if text == "-C" {
            let option = args.next();
            let is_incremental =
                |option: &&OsString| option.to_string_lossy().starts_with("incremental=");
            if let Some(option) = option.filter(|option| !is_incremental(option)) {
                kept.extend([arg.clone(), option.clone()]);
            }
        } else if !text.starts_with("--emit=") {
            kept.push(arg.clone());
        }
    }
    kept.push("--out-dir".into());
    kept.push(out.to_owned());
    kept
}

/// The argument that follows another one.
fn after<'a>(args: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(OsString::as_os_str)
}

/// A program of the toolchain that cargo runs from.
fn tool(name: &str) -> Command {
    let beside = env::var_os("CARGO").map(|cargo| PathBuf::from(cargo).with_file_name(name));
    Command::new(beside.filter(|path| path.exists()).unwrap_or(name.into()))
}

fn run(command: &mut Command) -> anyhow::Result<ExitCode> {
    let status = command.status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustdoc_gets_what_it_knows_and_a_place_of_its_own() {
        let given = "--crate-name a src/lib.rs --emit=dep-info,link -C metadata=1 -C incremental=/i --out-dir /deps \
                     --extern b=/b.rlib";
        let given: Vec<OsString> = given.split_whitespace().map(OsString::from).collect();
        let kept = for_rustdoc(&given, OsStr::new("/doc"));
        let kept: Vec<_> = kept.iter().map(|arg| arg.to_string_lossy()).collect();
        let expected = "--crate-name a src/lib.rs -C metadata=1 --extern b=/b.rlib --out-dir /doc";
        assert_eq!(kept.join(" "), expected);
    }
}
