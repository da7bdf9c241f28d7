//! `cargo xtask`: everything that is done to this repository besides writing it.

mod freshness;
mod measure;
mod node;
mod place;
mod process;
mod setup;
mod toolchain;
mod wasm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::setup::Consent;

/// Set-up, demo, tests, simulation and sizes of tidewire.
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
    /// Build the browser module into npm/dist/wasm.
    Wasm,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let consent = Consent::from_environment(args.yes);
    let result = match args.task {
        Task::Wasm => wasm::build(consent),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
