//! `tidewire-bench [NAME…]`: prints the rows of the native benchmarks, one JSON object a line.
//!
//! `cargo xtask bench` runs it, and those of the browser, and makes a table of both.

use std::io::{self, Write};

use clap::Parser;
use tidewire_bench::core::stream::Stream;
use tidewire_bench::server::{Serve, serve};
use tidewire_bench::{Scale, selected};

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Args {
    /// Benchmarks to run, by the beginning of their names; all without one
    names: Vec<String>,
    /// Measure next to nothing: only whether it works
    #[arg(long)]
    tiny: bool,
    /// Write the messages of the ingest stream instead, see `Stream::write_to`
    #[arg(long, num_args = 2, value_names = ["RECORDS", "MESSAGES"])]
    stream: Option<Vec<usize>>,
    #[command(subcommand)]
    serve: Option<Serve>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(what) = args.serve {
        match serve(what)? {}
    }
    let mut out = io::stdout().lock();
    if let Some([records, messages]) = args.stream.as_deref() {
        Stream::new(*records, *messages).write_to(&mut out)?;
        return Ok(out.flush()?);
    }
    let scale = if args.tiny { Scale::Tiny } else { Scale::Full };
    for bench in selected(&args.names) {
        eprintln!("  {} …", bench.name);
        for row in (bench.run)(scale)? {
            writeln!(out, "{}", serde_json::to_string(&row)?)?;
        }
    }
    Ok(())
}
