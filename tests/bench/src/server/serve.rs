//! What the processes under test run.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use tidewire_server::config::BrokerKind;
use tidewire_server::{Config, Principal, Server};
use tokio::net::TcpListener;

use super::bare;

/// The load never speaks of its own accord, and nobody is to be let go for it.
const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// A program to be put under load. It prints `listening ADDRESS` and ends when its input does.
#[derive(Clone, Debug, Subcommand)]
pub enum Serve {
    /// The server
    #[command(hide = true)]
    Serve {
        /// Keep logs in this directory instead of in memory
        #[arg(long)]
        disk: Option<PathBuf>,
    },
    /// The bare program that it is compared with
    #[command(hide = true)]
    ServeBare,
}

/// Runs one until standard input ends.
///
/// Errors: it cannot start.
pub fn serve(what: Serve) -> anyhow::Result<Infallible> {
    thread::spawn(|| {
        // Whoever started this process is done with it, or gone.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening {}", listener.local_addr()?);
        match what {
            Serve::Serve { disk } => ours(listener, disk).await,
            Serve::ServeBare => bare::run(listener).await,
        }
    })
}

async fn ours(listener: TcpListener, disk: Option<PathBuf>) -> anyhow::Result<Infallible> {
    let mut config = Config::default();
    config.connections_max = 20_000;
    config.timeouts.heartbeat = QUIET;
    config.timeouts.silence = QUIET;
    if let Some(dir) = disk {
        config.broker = BrokerKind::Disk;
        config.data_dir = dir;
    }
    Server::builder(config)
        .authenticate(|token, _request| async move { Ok(Principal::new(token)) })
        .build()?
        .run(listener, pending())
        .await?;
    anyhow::bail!("the server ended by itself")
}
