//! `cargo xtask`: everything that is done to this repository besides writing it.

mod bench;
mod board;
mod browser;
mod codes;
mod demo;
mod failures;
mod freshness;
mod fuzz;
mod ledger;
mod links;
mod lint;
mod measure;
mod middleboxes;
mod node;
mod npm;
mod pack;
mod packages;
mod parity;
mod place;
mod planted;
mod process;
mod programs;
mod quickstarts;
mod setup;
mod sim;
mod size;
mod soak;
mod soak_network;
mod test;
mod toolchain;
mod transports;
mod wasm;

use std::process::ExitCode;

use clap::{ArgGroup, Parser, Subcommand};

use crate::setup::Consent;
use crate::sim::SeedRange;

/// Set-up, demo, tests, simulation, benchmarks and sizes of tidewire.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
    /// Install missing system packages without asking (CI=true does too).
    #[arg(long, global = true)]
    yes: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Set up, build and start the board; prints `demo http://127.0.0.1:PORT` once it is ready.
    Demo {
        /// Port on the loopback address; 0 picks a free one [default: 7400, or a free one]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Pass on what the demo's server prints.
    #[command(hide = true)]
    DemoAnnouncer,
    /// Run every step of the test, or the named ones.
    #[command(after_help = test::list())]
    Test {
        /// Names of steps, in the order they shall run
        steps: Vec<String>,
        /// Run one step without anything around it
        #[arg(long, hide = true, value_name = "STEP", conflicts_with = "steps")]
        alone: Option<String>,
    },
    /// Simulate clients and servers in virtual time, a world per seed.
    #[command(group(ArgGroup::new("what").required(true).args(["seeds", "replay"])))]
    Sim {
        /// Seeds to run, the second one excluded
        #[arg(long, value_name = "A..B")]
        seeds: Option<SeedRange>,
        /// One seed to run and show
        #[arg(long, value_name = "SEED")]
        replay: Option<u64>,
        /// Print a summary as JSON on the last line
        #[arg(long)]
        json: bool,
    },
    /// Run long counts and append them to a ledger in docs/.
    #[command(subcommand)]
    Soak(Soak),
    /// Measure speed, each figure beside a baseline of the same run.
    Bench {
        /// Beginnings of names; all without one
        names: Vec<String>,
        /// Print an array as JSON on the last line
        #[arg(long)]
        json: bool,
        /// Write the figures and the machine's facts into docs/benchmarks.md
        #[arg(long)]
        record: bool,
    },
    /// Measure what an application downloads, against its budget.
    Size {
        /// Print an array as JSON on the last line
        #[arg(long)]
        json: bool,
    },
    /// Build the browser module into npm/dist/wasm.
    Wasm,
    /// Pack what is published; prints where each file lies.
    Pack,
}

#[derive(Subcommand)]
enum Soak {
    /// Simulated worlds; appends to docs/soak.md.
    Sim {
        /// Seeds to run instead of the next ones of the ledger
        #[arg(long, value_name = "A..B")]
        seeds: Option<SeedRange>,
    },
    /// The network: every middlebox, clients forced from transport to transport, idle ones; appends to docs/soak.md.
    Network {
        /// How often two clients are forced onto another transport
        #[arg(long, value_name = "N", default_value_t = 1000)]
        switches: u32,
        /// How long clients are idle behind a cut of 30 s
        #[arg(long, value_name = "N", default_value_t = 10)]
        idle_minutes: u32,
    },
    /// Planted bugs, each until it is caught; writes the table of docs/testing.md.
    Planted,
    /// 1,000 seeds natively and on wasm32: the same traces.
    Parity,
    /// Fuzz targets; appends to docs/soak.md.
    Fuzz {
        /// Targets to run instead of all
        targets: Vec<String>,
        /// How long each of them runs
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
        /// Add inputs that reach something new to the corpus, and minimise it
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    if planted::compiles() {
        return planted::compile(std::env::args_os().skip(1)).unwrap_or_else(failure);
    }
    if lint::compiles() {
        return lint::compile(std::env::args_os().skip(1)).unwrap_or_else(failure);
    }
    let args = Args::parse();
    let consent = Consent::from_environment(args.yes);
    let result = match args.task {
        Task::Demo { port } => demo::run(port, consent),
        Task::DemoAnnouncer => demo::announce(),
        Task::Test {
            alone: Some(step), ..
        } => test::run_alone(&step, consent),
        Task::Test { steps, .. } => match test::run(&steps, consent) {
            // The table has said what failed; its last line stays the last.
            Ok(false) => return ExitCode::FAILURE,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        },
        Task::Sim {
            replay: Some(seed), ..
        } => sim::replay(seed),
        Task::Sim {
            seeds: Some(seeds),
            json,
            ..
        } => sim::run_range(seeds, json),
        Task::Sim { .. } => unreachable!("clap requires one of them"),
        Task::Soak(Soak::Sim { seeds }) => soak::sim(seeds),
        Task::Soak(Soak::Network {
            switches,
            idle_minutes,
        }) => soak_network::run(switches, idle_minutes, consent),
        Task::Soak(Soak::Planted) => planted::soak(),
        Task::Soak(Soak::Parity) => parity::check(soak::PARITY_SEEDS, consent),
        Task::Soak(Soak::Fuzz {
            targets,
            seconds,
            keep,
        }) => fuzz::soak(&targets, seconds, keep, consent),
        Task::Bench {
            names,
            json,
            record,
        } => bench::run_named(&names, json, record, consent),
        Task::Size { json } => size::run_all(json, consent),
        Task::Wasm => wasm::build(consent),
        Task::Pack => pack::run(consent),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(error),
    }
}

fn failure(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
