//! The simulation natively and compiled to wasm32: the same seeds must give the same traces.
//!
//! What differs between both would differ between a browser and a server: number sizes, the order of
//! maps, floating point, anything that was left to the platform.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use crate::node;
use crate::place;
use crate::process::{collect, command, run, run_through};
use crate::setup::Consent;
use crate::sim::{self, SeedRange};
use crate::toolchain::{TARGET, WasmToolchain};

/// Name of the written files.
const NAME: &str = "tidewire-sim";

/// Runs the seeds on both targets and compares the trace of each.
pub(crate) fn check(seeds: SeedRange, consent: Consent) -> anyhow::Result<()> {
    sim::build()?;
    let (bindings, module) = build(consent)?;
    let wasm = {
        let root = place::root();
        let mut runner = command("node", &root);
        runner
            .arg(root.join("tests/sim/wasm/run.mjs"))
            .args([&bindings, &module])
            .args([seeds.start.to_string(), seeds.end.to_string()]);
        collect(&mut runner)?
    };
    let native = collect(sim::simulator().args(["--seeds", &seeds.to_string(), "--hashes"]))?;
    for (target, (_, passed)) in [("wasm32", &wasm), ("this machine", &native)] {
        ensure!(passed, "seeds failed on {target}: see above");
    }
    compare(seeds, &native.0, &wasm.0)?;
    println!("{seeds}: the same traces on this machine and on wasm32");
    // What this machine makes of them is one of the core's tests.
    let root = place::root();
    run_through(
        command("node", &root)
            .arg(root.join("tests/sim/wasm/events.mjs"))
            .args([&bindings, &module])
            .arg(root.join("tests/fixtures/sse")),
    )
}

/// Compiles the simulation to wasm32 and writes its bindings; returns both files.
fn build(consent: Consent) -> anyhow::Result<(PathBuf, PathBuf)> {
    node::ensure(consent)?;
    let root = place::root();
    let toolchain = WasmToolchain::find_or_install_for_tests(consent)?;
    let target_dir = place::target_dir().join("wasm");
    let mut cargo = toolchain.cargo(&root);
    cargo
        .args([
            "build",
            "--locked",
            "--package",
            "tidewire-sim-wasm",
            "--profile",
            "wasm-sim",
        ])
        .args(["--target", TARGET])
        .args(toolchain.cargo_args())
        .arg("--target-dir")
        .arg(&target_dir);
    run(&mut cargo)?;
    let out = place::target_dir().join("xtask/parity");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    run(command("cargo", &root)
        .args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "xtask-bindgen",
            "--",
        ])
        .arg(
            target_dir
                .join(TARGET)
                .join("wasm-sim/tidewire_sim_wasm.wasm"),
        )
        .arg(&out)
        .arg(NAME))?;
    // Node takes a `.js` for a module only if a package says so.
    fs::write(out.join("package.json"), "{\"type\":\"module\"}\n")?;
    Ok((
        out.join(format!("{NAME}.js")),
        out.join(format!("{NAME}_bg.wasm")),
    ))
}

/// Finds the first seed whose traces differ.
fn compare(seeds: SeedRange, native: &str, wasm: &str) -> anyhow::Result<()> {
    let count = usize::try_from(seeds.end - seeds.start)?;
    let (native, wasm): (Vec<_>, Vec<_>) = (native.lines().collect(), wasm.lines().collect());
    for (target, lines) in [("this machine", &native), ("wasm32", &wasm)] {
        ensure!(
            lines.len() == count,
            "{target} printed {} hashes for {count} seeds",
            lines.len()
        );
    }
    let differing = (seeds.start..)
        .zip(native.iter().zip(&wasm))
        .filter(|(_, (native, wasm))| native != wasm);
    let differing: Vec<u64> = differing.map(|(seed, _)| seed).collect();
    if let Some(first) = differing.first() {
        bail!(
            "{} of {count} seeds differ between this machine and wasm32, the first is {first}",
            differing.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: SeedRange = SeedRange { start: 7, end: 9 };

    #[test]
    fn the_first_seed_that_differs_is_named() {
        assert!(compare(SEEDS, "aa\nbb\n", "aa\nbb\n").is_ok());
        let error = compare(SEEDS, "aa\nbb\n", "aa\nbc\n").expect_err("they differ");
        assert!(error.to_string().contains("first is 8"), "{error}");
    }

    #[test]
    fn a_missing_hash_is_an_error() {
        let error = compare(SEEDS, "aa\nbb\n", "aa\n").expect_err("one is missing");
        assert!(error.to_string().contains("wasm32 printed 1"), "{error}");
    }
}
