//! The program `tidewire-server`: flags in, exit code out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;

use crate::admin_client::{self, AdminClient, ClientError};
use crate::broker::{DiskBroker, OpenError, RunId};
use crate::config::{Config, ConfigError, Flags, Settings, unknown_env};
use crate::server::{BuildError, RunError, Server};
use crate::{clock, file_limit, telemetry};

/// The variable that names the file with the key which client commands show.
const API_KEY_FILE: &str = "TIDEWIRE_API_KEY_FILE";

/// The configuration cannot be used.
const EXIT_CONFIG: u8 = 2;
/// Anything else went wrong.
const EXIT_FAILURE: u8 = 1;
/// What was waited for did not come in time.
const EXIT_TIMEOUT: u8 = 3;

#[derive(Parser)]
#[command(
    name = "tidewire-server",
    version,
    about = "Keeps application state in sync in real time"
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Judge the configuration and exit: 0 if the server would start with it, 2 if not
    CheckConfig,
    /// Print every value with where it came from, without judging
    PrintConfig,
    /// Give a copied data directory, which --data-dir names, a new run id before a server is started on it
    Restore,
    /// Ask the server at --admin URL to drain; returns when nobody is connected any more: 0, or 3 at the
    /// timeout
    Drain {
        #[command(flatten)]
        door: DoorKey,
        /// How long to wait, as in 40s, 5m or 500ms
        #[arg(long, value_name = "TIME", default_value = "40s", value_parser = admin_client::duration)]
        timeout: Duration,
    },
}

/// What every command that asks a running server takes.
#[derive(Args)]
struct DoorKey {
    /// File with an API key of the server; also TIDEWIRE_API_KEY_FILE
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Why the program ends without having served.
enum Failure {
    Config(String),
    Timeout(String),
    Other(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Usage(_) => Self::Config(text),
            ClientError::Timeout { .. } => Self::Timeout(text),
            _ => Self::Other(text),
        }
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(text)) => {
            eprintln!("tidewire-server: bad configuration\n{text}");
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Timeout(text)) => {
            eprintln!("tidewire-server: {text}");
            ExitCode::from(EXIT_TIMEOUT)
        }
        Err(Failure::Other(text)) => {
            eprintln!("tidewire-server: {text}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let overrides = cli.flags.overrides();
    if let Some(Command::Restore) = &cli.command {
        // Neither file nor environment counts: this is not the directory that a server runs on.
        let dir = overrides
            .values
            .get("data_dir")
            .and_then(toml::Value::as_str);
        let Some(dir) = dir else {
            let text = "data_dir is not given: name the copy, as in --data-dir DIR";
            return Err(Failure::Config(text.into()));
        };
        return restore(Path::new(dir));
    }
    if let Some(Command::Drain { door, timeout }) = cli.command {
        let admin = overrides.values.get("admin").and_then(toml::Value::as_str);
        let Some(url) = admin else {
            let text = "admin is not given: name the door of the server, as in --admin http://127.0.0.1:7401";
            return Err(Failure::Config(text.into()));
        };
        let key_file = door
            .key_file
            .or_else(|| env(API_KEY_FILE).map(PathBuf::from));
        AdminClient::new(url, key_file.as_deref())?.drain(timeout)?;
        return Ok(());
    }
    let settings =
        Settings::load(&overrides, env).map_err(|error| Failure::Config(error.to_string()))?;
    if matches!(cli.command, Some(Command::PrintConfig)) {
        print!("{settings}");
        return Ok(());
    }
    let config =
        Config::from_settings(&settings).map_err(|error| Failure::Config(error.to_string()))?;
    let unusable = |error: ConfigError| Failure::Config(settings.attribute(error).to_string());
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in unknown_env(names, &[API_KEY_FILE]) {
        eprintln!("tidewire-server: {name} is no setting of the server and is ignored");
    }
    if matches!(cli.command, Some(Command::CheckConfig)) {
        Server::check(&config).map_err(unusable)?;
        println!("configuration ok");
        return Ok(());
    }
    telemetry::start_log(&config.log);
    let server = Server::builder(config.clone())
        .build()
        .map_err(|error| match error {
            BuildError::Config(error) => unusable(error),
            BuildError::Broker(error) => of_directory(error),
            error => Failure::Other(error.to_string()),
        })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("no runtime: {error}")))?;
    file_limit::prepare(config.connections_max);
    let served = runtime.block_on(serve(server, &config));
    // Nothing that is still running may delay the exit.
    runtime.shutdown_background();
    served
}

/// What the logs had after the copy was made is lost: with another run id, everybody can tell.
fn restore(dir: &Path) -> Result<(), Failure> {
    let new_run = RunId(clock::random_u64());
    let old = DiskBroker::restore(dir, new_run).map_err(of_directory)?;
    println!(
        "{}: run id {:016x} is now {:016x}; start the server on it",
        dir.display(),
        old.0,
        new_run.0
    );
    Ok(())
}

/// Nothing but another directory, or another version of the server, helps where the format is another.
fn of_directory(error: OpenError) -> Failure {
    match error {
        OpenError::Format { .. } => Failure::Config(error.to_string()),
        error => Failure::Other(error.to_string()),
    }
}

async fn serve(server: Server, config: &Config) -> Result<(), Failure> {
    let listener = bind("listen", config.listen).await?;
    let admin = match config.admin {
        Some(address) => Some(bind("admin", address).await?),
        None => None,
    };
    let shutdown = signals()?;
    announce("listening", &listener)?;
    if let Some(admin) = &admin {
        announce("admin", admin)?;
    }
    server
        .run_with_admin(listener, admin, shutdown)
        .await
        .map_err(|error: RunError| Failure::Other(error.to_string()))
}

async fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Other(format!(
            "{key} = \"{address}\": {error}; choose another address, or port 0 for a free one"
        ))
    })
}

fn announce(door: &str, listener: &TcpListener) -> Result<(), Failure> {
    use std::io::Write;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::Other(error.to_string()))?;
    let mut out = std::io::stdout().lock();
    // Whoever closed our standard output does not want to know.
    let _ = writeln!(out, "{door} http://{address}");
    let _ = out.flush();
    Ok(())
}

/// Completes with the first signal to stop; the second one ends the process at once.
fn signals() -> Result<impl Future<Output = ()>, Failure> {
    let mut asked = StopSignals::listen().map_err(|error| Failure::Other(error.to_string()))?;
    Ok(async move {
        asked.next().await;
        tokio::spawn(async move {
            asked.next().await;
            eprintln!("tidewire-server: second signal, exiting now");
            std::process::exit(i32::from(EXIT_FAILURE));
        });
    })
}

/// SIGTERM and SIGINT.
#[cfg(unix)]
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ctrl-C, which is all there is elsewhere.
#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
