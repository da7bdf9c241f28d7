//! The demo: a board that people share, its page and its server on one port.
//!
//! Run: `cargo xtask demo`, or `cargo run -p board` once `page/dist` is built.
//!
//! Expected output, then one page per visitor at that address:
//! ```text
//! listening http://127.0.0.1:7400
//! ```
//!
//! It embeds `tidewire-server`: what is the application's own is what a board starts with
//! ([`start`]), what may be done with it ([`rules`]), and the page ([`page`]).

mod page;
mod rules;
mod start;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use tidewire_server::config::BrokerKind;
use tidewire_server::{Config, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The shared board: page and server on one port.
///
/// Anyone on this machine may come in under any name, so it listens on loopback addresses only.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where it listens; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)))]
    listen: SocketAddr,
    /// Short for --listen 127.0.0.1:PORT
    #[arg(long, conflicts_with = "listen")]
    port: Option<u16>,
    /// What keeps the boards
    #[arg(long, value_enum, default_value_t = Keeper::Disk)]
    broker: Keeper,
    /// Where the disk broker keeps them
    #[arg(long, value_name = "DIR", default_value = "tidewire-data/board")]
    data_dir: PathBuf,
    /// The built page
    #[arg(long, value_name = "DIR", default_value = page::DEFAULT_DIR)]
    page: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Keeper {
    /// Gone when the process ends
    Memory,
    /// Kept over restarts and crashes
    Disk,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();

    let mut config = Config::default();
    config.listen = args
        .port
        .map_or(args.listen, |port| (Ipv4Addr::LOCALHOST, port).into());
    config.data_dir = args.data_dir;
    config.dev_auth = true;
    config.broker = match args.broker {
        Keeper::Memory => BrokerKind::Memory,
        Keeper::Disk => BrokerKind::Disk,
    };
    let listen = config.listen;

    let server = Server::builder(config)
        .initial("board", |_channel| start::document())
        .validate("board", |view, _who, change| {
            rules::judge(|collection, id| view.record(collection, id), change)
        })
        .routes(page::routes(&args.page)?)
        .build()?;
    // Before the address is known to anyone: a signal from then on drains.
    let shutdown = shutdown()?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: take another with --port"))?;
    println!("listening http://{}", listener.local_addr()?);
    server.run(listener, shutdown).await?;
    Ok(())
}

/// Completes at the first SIGTERM or SIGINT; the second one ends the process.
fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            process::exit(1);
        });
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
