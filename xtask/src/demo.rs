//! `cargo xtask demo`: the board on this machine, from nothing to one URL.

use std::io::{self, BufRead};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::board;
use crate::node;
use crate::place;
use crate::process::command;
use crate::programs;
use crate::setup::Consent;

/// The port while it is free: a page's address then survives a restart of the demo.
const USUAL_PORT: u16 = 7400;

/// Builds what is missing, then becomes the board's server.
///
/// It is replaced rather than started as a child, so that whoever stops this process, with Ctrl-C
/// or a signal to its id, stops the server, which drains; and its exit code is ours.
pub(crate) fn run(port: Option<u16>, consent: Consent) -> anyhow::Result<()> {
    node::ensure(consent)?;
    board::build_page(consent)?;
    programs::build_board()?;

    let port = port.unwrap_or_else(usual_or_free_port);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut server = command(programs::dir().join("board"), &place::root());
    server
        .args(["--listen", &address.to_string()])
        .args(["--data-dir", "tidewire-data/board"])
        .args(["--page", "examples/board/page/dist"])
        .stdin(Stdio::null())
        .stdout(start_announcer()?);
    let error = server.exec();
    Err(error).context("cannot start the board's server")
}

/// Reads what the server prints; tells people the address, and passes the rest to standard error.
pub(crate) fn announce() -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.strip_prefix("listening ") {
            Some(url) => println!("demo {url}"),
            None => eprintln!("{line}"),
        }
    }
    Ok(())
}

/// A process of its own for [`announce`], since no thread survives becoming another program.
fn start_announcer() -> anyhow::Result<Stdio> {
    let xtask = std::env::current_exe().context("where is xtask itself?")?;
    let announcer = Command::new(xtask)
        .arg("demo-announcer")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start the announcer")?;
    let pipe = announcer.stdin.context("the announcer has no pipe")?;
    Ok(Stdio::from(pipe))
}

fn usual_or_free_port() -> u16 {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, USUAL_PORT)) {
        Ok(_) => USUAL_PORT,
        Err(_) => 0,
    }
}
