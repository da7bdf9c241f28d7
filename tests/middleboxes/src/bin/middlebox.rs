//! One box before a server of its own, for clients of any language: `middlebox ROW ORIGIN` writes a line of JSON, `url` and
//! `first` (what a client ends up on, or null), and ends when its input does. Pages of ORIGIN may connect; whoever
//! has a token is who it says. ROW is a name of the table in docs/transports.md.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use tidewire_middleboxes::{Middlebox, ROWS, Row, Server, broker};
use tokio::io::AsyncReadExt;

/// As usual: no row needs another.
const HEARTBEAT: Duration = Duration::from_secs(25);

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let row = args.next().unwrap_or_default();
    let (Some(row), Some(origin)) = (ROWS.iter().find(|it| it.name == row), args.next()) else {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        eprintln!(
            "usage: middlebox ROW ORIGIN; the rows are\n{}",
            names.join("\n")
        );
        return ExitCode::from(2);
    };
    let (_servers, middlebox) = start(row, &origin).await;
    let first = row.first_that_works();
    let first = first.map_or("null".into(), |first| format!("{first:?}"));
    println!("{{\"url\":{:?},\"first\":{first}}}", middlebox.url());
    let mut input = Vec::new();
    // However it ends, whoever started this is gone.
    let _ = tokio::io::stdin().read_to_end(&mut input).await;
    ExitCode::SUCCESS
}

async fn start(row: &Row, origin: &str) -> (Vec<Server>, Middlebox) {
    let broker = broker();
    let mut servers = Vec::new();
    for _ in 0..row.servers() {
        servers.push(Server::start_for(&broker, HEARTBEAT, &[origin]).await);
    }
    let addresses: Vec<_> = servers.iter().map(Server::address).collect();
    let middlebox = Middlebox::start(row, &addresses).await;
    (servers, middlebox)
}
