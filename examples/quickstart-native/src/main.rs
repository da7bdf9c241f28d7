//! Joins the demo board from a terminal: shows it live and edits it.
//!
//! Run: `cargo run -p quickstart-native -- --url http://127.0.0.1:7400 --name ana`
//!
//! Expected output, with a browser on the same board:
//! ```text
//! ~ connected as ana
//!
//! To do [todo]
//!   3f9c2a1be07d5846  Buy milk  (ben)
//! Doing [doing]
//! Done [done]  locked
//!
//! > move 3f Doing
//! > "Buy milk" is in Doing now
//! ```

mod action;
mod board;
mod live;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tidewire::{Client, ConnectionState};

use crate::action::Action;
use crate::board::Board;

/// How long a single edit may take before it is given up.
const EDIT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a goodbye waits for edits that the server has not decided.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

/// Joins the demo board from a terminal.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where the server listens.
    #[arg(long, default_value = "http://127.0.0.1:7400")]
    url: String,
    /// Who you are; the server must run with --dev-auth.
    #[arg(long, default_value = "ana")]
    name: String,
    /// Which board.
    #[arg(long, default_value = "board:main")]
    channel: String,
    /// One edit, or `watch`; without it you get a prompt.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Edit(Action),
    /// Shows the board and whatever happens to it, until you press Ctrl-C.
    Watch,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let outcome = runtime.context("no runtime").and_then(|runtime| {
        let outcome = runtime.block_on(run(args));
        // A blocking read of standard input would hold up an orderly end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::builder(&args.url)
        .token(format!("dev:{}", args.name))
        .build()?;
    let channel = client.channel(&args.channel)?;
    let board = Board::new(channel.clone(), &args.name);
    let outcome = match &args.command {
        Some(Command::Edit(action)) => tokio::time::timeout(EDIT_TIMEOUT, edit(&board, action))
            .await
            .unwrap_or_else(|_| Err(unanswered(&client.connection().borrow()))),
        command => {
            channel
                .presence()
                .set(json!({"name": args.name, "color": board::color(&args.name)}))?;
            let prompt = command.is_none();
            live::run(&client, &board, prompt).await
        }
    };
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, board.settled()).await;
    client.close().await;
    outcome
}

async fn edit(board: &Board, action: &Action) -> anyhow::Result<()> {
    board.channel.ready().await?;
    let edit = action.apply(board)?;
    edit.mutation
        .committed()
        .await
        .with_context(|| format!("the server refused: {}", edit.text))?;
    println!("{}", edit.text);
    Ok(())
}

fn unanswered(connection: &ConnectionState) -> anyhow::Error {
    let reason = connection.reason.as_ref().map(tidewire::Reason::detail);
    anyhow::anyhow!(
        "no answer within {} s: {}",
        EDIT_TIMEOUT.as_secs(),
        reason.unwrap_or_else(|| connection.phase.name().to_owned())
    )
}
