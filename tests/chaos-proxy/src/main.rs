//! `tidewire-chaos-proxy`: see `tidewire-chaos-proxy --help`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tidewire_chaos_proxy::{CONNECTIONS_MAX, ChaosProxy, Conditions, Direction, control};
use tokio::net::{TcpListener, lookup_host};

/// A TCP proxy that makes a network bad on purpose.
///
/// Conditions are JSON, as in '{"latency_ms":80,"jitter_ms":20}'; the README has every field.
#[derive(Parser)]
#[command(name = "tidewire-chaos-proxy", version)]
struct Args {
    /// Where clients connect; port 0 is a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server behind it
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Decides chances, jitter and slices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Conditions from client to server
    #[arg(long, value_name = "JSON", value_parser = control::read)]
    upstream: Option<Conditions>,
    /// Conditions from server to client
    #[arg(long, value_name = "JSON", value_parser = control::read)]
    downstream: Option<Conditions>,
    /// Conditions of either way that has none of its own
    #[arg(long, value_name = "JSON", value_parser = control::read)]
    both: Option<Conditions>,
    /// Where to be told other conditions over HTTP; none without this. Whoever reaches it may use it
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// How many connections are carried at a time; more are reset
    #[arg(long, default_value_t = CONNECTIONS_MAX)]
    connections_max: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidewire-chaos-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let to = lookup_host(&args.to)
        .await
        .map_err(|error| format!("--to {}: {error}; write HOST:PORT", args.to))?
        .next()
        .ok_or_else(|| format!("--to {}: no such host", args.to))?;
    let proxy = ChaosProxy::on(
        bind("--listen", args.listen).await?,
        to,
        args.seed,
        args.connections_max,
    )
    .map_err(|error| error.to_string())?;
    for (direction, conditions) in [
        (Direction::Both, args.both),
        (Direction::Upstream, args.upstream),
        (Direction::Downstream, args.downstream),
    ] {
        if let Some(conditions) = conditions {
            proxy
                .set(direction, conditions)
                .map_err(|error| error.to_string())?;
        }
    }
    println!("listening {}", proxy.address());
    let Some(address) = args.control else {
        return until_told().await;
    };
    let listener = bind("--control", address).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("control http://{address}");
    let door = control::door(Arc::new(proxy));
    tokio::select! {
        served = async { axum::serve(listener, door).await } => served.map_err(|error| error.to_string()),
        ended = until_told() => ended,
    }
}

async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("{flag} {address}: {error}; choose another address or port 0"))
}

async fn until_told() -> Result<(), String> {
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| error.to_string())
}
