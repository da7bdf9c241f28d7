//! The real server as a child process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::program::program;
use crate::wait::within;

/// Where a server keeps its logs.
#[derive(Clone, Debug)]
pub enum Broker {
    /// In memory: gone with the process.
    Memory,
    /// On disk, in this directory.
    Disk(PathBuf),
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server on a free port and waits until it listens.
    ///
    /// # Panics
    /// When it does not say so in time.
    pub async fn start(broker: &Broker) -> Self {
        let mut command = Command::new(program("tidewire-server"));
        command.args(["--listen", "127.0.0.1:0", "--dev-auth"]);
        match broker {
            Broker::Memory => command.args(["--broker", "memory"]),
            Broker::Disk(directory) => command
                .args(["--broker", "disk", "--data-dir"])
                .arg(directory),
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server can be started");
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = within("the server says where it listens", lines.next_line())
            .await
            .expect("standard output can be read")
            .expect("the server lives until it listens");
        let address = line
            .strip_prefix("listening http://")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("the first line is not `listening http://…` but {line:?}"));
        Self { child, address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it with SIGKILL: no goodbye, no flush.
    ///
    /// # Panics
    /// When it does not die.
    pub async fn kill(mut self) {
        within("the killed server is gone", self.child.kill())
            .await
            .expect("an own child can be killed");
    }

    /// Asks it to drain, with SIGTERM, and waits until it ends.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn drain(mut self) -> ExitStatus {
        let pid = self.child.id().expect("it was not waited for yet");
        // `kill` is a builtin of every shell; as a program it may be missing.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {pid}")])
            .status()
            .await
            .expect("a shell can be started");
        assert!(sent.success(), "SIGTERM was not delivered");
        within("the draining server ends", self.child.wait())
            .await
            .expect("an own child can be waited for")
    }
}
