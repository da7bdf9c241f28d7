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
//! ([`start`]), what may be done with it ([`rules`]), the page ([`page`]), and a panel that makes
//! things go wrong ([`panel`]).

mod page;
mod panel;
mod rules;
mod start;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use tidewire_server::config::BrokerKind;
use tidewire_server::faults::{Action, Faults};
use tidewire_server::{Config, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use panel::Panel;

/// How long a visitor may take to leave when the demo ends, and the last server to let go of its disk.
const GRACE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(20);

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
    config.drain_grace = GRACE;
    config.broker = match args.broker {
        Keeper::Memory => BrokerKind::Memory,
        Keeper::Disk => BrokerKind::Disk,
    };
    let mut demo = Demo {
        config,
        page: args.page,
        faults: Faults::new(),
    };
    let panel = Panel::new(demo.faults.clone());

    let mut server = demo.build(&panel)?;
    // Before the address is known to anyone: a signal from then on drains.
    let mut shutdown = pin!(shutdown()?);
    let listen = demo.config.listen;
    let mut listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}: take another with --port"))?;
    demo.config.listen = listener.local_addr()?;
    println!("listening http://{}", demo.config.listen);
    loop {
        let again = AtomicBool::new(false);
        let stop = async {
            tokio::select! {
                () = shutdown.as_mut() => {}
                () = panel.restart() => again.store(true, Ordering::Relaxed),
            }
            if again.load(Ordering::Relaxed) {
                demo.cut_everybody();
            }
        };
        server.run(listener, stop).await?;
        if !again.into_inner() {
            return Ok(());
        }
        (server, listener) = demo.start_again(&panel).await?;
    }
}

/// What a server of this demo is built from, every time.
struct Demo {
    config: Config,
    page: PathBuf,
    /// Outlives the servers, so that knobs stay as they are and the record goes on.
    faults: Faults,
}

impl Demo {
    fn build(&self, panel: &Arc<Panel>) -> anyhow::Result<Server> {
        Ok(Server::builder(self.config.clone())
            .initial("board", |_channel| start::document())
            .validate("board", |view, _who, change| {
                rules::judge(|collection, id| view.record(collection, id), change)
            })
            .faults(self.faults.clone())
            .routes(panel.routes())
            .routes(page::routes(&self.page)?)
            .build()?)
    }

    async fn start(&self, panel: &Arc<Panel>) -> anyhow::Result<(Server, TcpListener)> {
        let listener = TcpListener::bind(self.config.listen).await?;
        Ok((self.build(panel)?, listener))
    }

    /// A restart is no drain: to visitors it looks like a crash. Not awaited here, since nobody
    /// new comes in before the server has been told to stop.
    fn cut_everybody(&self) {
        let faults = self.faults.clone();
        tokio::spawn(async move { faults.act(Action::Cut { principal: None }).await });
    }

    /// A new server on the same disk and port, once the last one has let go of both.
    async fn start_again(&self, panel: &Arc<Panel>) -> anyhow::Result<(Server, TcpListener)> {
        let started = async {
            loop {
                match self.start(panel).await {
                    Ok(started) => return started,
                    Err(error) => tracing::debug!(%error, "not yet"),
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::time::timeout(GRACE * 2, started)
            .await
            .context("the last server does not let go of its disk or port")
    }
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
