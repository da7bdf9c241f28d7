//! `cargo xtask wasm`: the browser build, from Rust to `npm/dist/wasm/`.
//!
//! Cargo builds the module, `xtask-bindgen` writes its JavaScript, `wasm-opt` shrinks it. Every tool
//! is pinned by a lockfile of this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::freshness;
use crate::measure::{self, Measure};
use crate::node;
use crate::place;
use crate::process::{command, run};
use crate::setup::Consent;
use crate::toolchain::{TARGET, WasmToolchain};

/// Name of the written files: `tidewire.js`, `tidewire_bg.wasm`.
const NAME: &str = "tidewire";

/// The profile in Cargo.toml.
const PROFILE: &str = "wasm";

/// How `wasm-opt` shrinks. Inlining makes the text shorter and the download longer. Nothing of ours
/// lies below address 1024: there is the far end of the stack.
const SHRINK: [&str; 5] = [
    "-Oz",
    "--always-inline-max-function-size=0",
    "--flexible-inline-max-function-size=0",
    "--one-caller-inline-max-function-size=0",
    "--low-memory-unused",
];

/// What browsers of the last years and Node 20 have. Never `--all-features`: that also allows what
/// they do not have yet, and the module is refused.
const WASM_FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Where the npm package takes the module from.
pub(crate) fn out_dir() -> PathBuf {
    place::root().join("npm/dist/wasm")
}

/// The finished module.
pub(crate) fn module() -> PathBuf {
    out_dir().join(format!("{NAME}_bg.wasm"))
}

/// Builds what is not fresh and says how large it became.
pub(crate) fn build(consent: Consent) -> anyhow::Result<()> {
    let root = place::root();
    ensure_one_bindgen_version(&fs::read_to_string(root.join("Cargo.lock"))?)?;
    node::ensure(consent)?;
    let toolchain = WasmToolchain::find_or_install(consent)?;
    let target_dir = place::target_dir().join("wasm");
    run(&mut cargo_build(&toolchain, &target_dir))?;

    let built = target_dir.join(TARGET).join("wasm/tidewire_wasm.wasm");
    let mut inputs = vec![built.clone()];
    inputs
        .extend(["xtask/bindgen", "xtask/tools", "xtask/src/wasm.rs"].map(|path| root.join(path)));
    if !freshness::is_fresh(&module(), &inputs)? {
        finish(&built, consent)?;
    }
    for file in measure::files(&[module(), glue()])? {
        eprintln!(
            "  {:<28} {:>7} bytes, {:>6} with brotli",
            place::short(&file.path),
            file.bytes,
            file.brotli_bytes
        );
    }
    Ok(())
}

fn glue() -> PathBuf {
    out_dir().join(format!("{NAME}.js"))
}

fn cargo_build(toolchain: &WasmToolchain, target_dir: &Path) -> Command {
    let mut cargo = toolchain.cargo(&place::root());
    cargo
        .arg("build")
        .args([
            "--locked",
            "--package",
            "tidewire-wasm",
            "--profile",
            PROFILE,
        ])
        .args(["--target", TARGET])
        .args(toolchain.cargo_args())
        .args(toolchain.bare_panic_args(PROFILE))
        .arg("--target-dir")
        .arg(target_dir);
    cargo
}

/// Bindings, then `wasm-opt`, in a directory beside the final one, so that no half-made file is ever
/// in its place.
fn finish(built: &Path, consent: Consent) -> anyhow::Result<()> {
    let root = place::root();
    let tools = root.join("xtask/tools");
    node::install(&tools, consent)?;
    let work = place::target_dir().join("xtask/bindings");
    fs::create_dir_all(&work)?;
    run(command("cargo", &root)
        .args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "xtask-bindgen",
            "--",
        ])
        .arg(built)
        .arg(&work)
        .arg(NAME))?;

    let bound = work.join(format!("{NAME}_bg.wasm"));
    let small = work.join(format!("{NAME}_bg.small.wasm"));
    run(command(tools.join("node_modules/.bin/wasm-opt"), &root)
        .args(SHRINK)
        .args(WASM_FEATURES)
        .args(["--strip-debug", "--strip-producers"])
        .arg(&bound)
        .arg("-o")
        .arg(&small))?;
    fs::rename(&small, &bound)?;
    ensure_pure(&measure::file(&bound)?)?;

    let out = out_dir();
    fs::create_dir_all(&out)?;
    // The module last: its age is what tells whether all of them are fresh.
    // The declarations are for a test: `npm/src/wasm` has those that are published.
    for (from, to) in [
        (format!("{NAME}.d.ts"), "generated.d.ts".to_owned()),
        (format!("{NAME}.js"), format!("{NAME}.js")),
        (format!("{NAME}_bg.wasm"), format!("{NAME}_bg.wasm")),
    ] {
        fs::copy(work.join(&from), out.join(to))
            .with_context(|| format!("cannot copy {from} to {}", out.display()))?;
    }
    Ok(())
}

/// The generator and the crate must be the same version; Cargo.lock decides both.
fn ensure_one_bindgen_version(lockfile: &str) -> anyhow::Result<()> {
    let version =
        |name| locked_version(lockfile, name).with_context(|| format!("Cargo.lock has no {name}"));
    let library = version("wasm-bindgen")?;
    let generator = version("wasm-bindgen-cli-support")?;
    ensure!(
        library == generator,
        "wasm-bindgen is {library} and wasm-bindgen-cli-support is {generator}: \
         set both to the same exact version in Cargo.toml"
    );
    Ok(())
}

fn locked_version<'a>(lockfile: &'a str, name: &str) -> Option<&'a str> {
    let entry = format!("name = \"{name}\"");
    let mut lines = lockfile.lines().skip_while(|line| *line != entry);
    lines
        .nth(1)?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

/// A module may only import what its bindings define. An import from `env` means that some crate
/// expects a C function, a clock or a random source that no browser has.
fn ensure_pure(module: &Measure) -> anyhow::Result<()> {
    let bindings = format!("./{NAME}_bg.js");
    let foreign: Vec<&str> = module
        .imports
        .iter()
        .map(String::as_str)
        .filter(|from| *from != bindings)
        .collect();
    if !foreign.is_empty() {
        bail!(
            "the module imports from {}: only {bindings} is there in a browser",
            foreign.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockfile(library: &str, generator: &str) -> String {
        format!(
            "[[package]]\nname = \"wasm-bindgen\"\nversion = \"{library}\"\nsource = \"x\"\n\n\
             [[package]]\nname = \"wasm-bindgen-cli-support\"\nversion = \"{generator}\"\n"
        )
    }

    #[test]
    fn one_bindgen_version_is_accepted() {
        assert!(ensure_one_bindgen_version(&lockfile("0.2.130", "0.2.130")).is_ok());
    }

    #[test]
    fn two_bindgen_versions_are_refused_with_both_named() {
        let error = ensure_one_bindgen_version(&lockfile("0.2.130", "0.2.129"))
            .expect_err("the versions differ");
        assert!(error.to_string().contains("0.2.129"));
    }

    #[test]
    fn a_lockfile_without_the_generator_is_refused() {
        assert!(ensure_one_bindgen_version("").is_err());
    }

    #[test]
    fn an_import_from_env_is_refused() {
        let module = |imports: &[&str]| Measure {
            path: PathBuf::new(),
            bytes: 0,
            brotli_bytes: 0,
            imports: imports.iter().map(|from| (*from).to_owned()).collect(),
        };
        assert!(ensure_pure(&module(&["./tidewire_bg.js"])).is_ok());
        let error = ensure_pure(&module(&["./tidewire_bg.js", "env"])).expect_err("env is foreign");
        assert!(error.to_string().contains("imports from env"));
    }
}
