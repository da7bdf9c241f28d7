//! The proxy that programs are told of by their environment: tinyproxy.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::middlebox::{TRIES, find, free_port, listens};

/// A running forward proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    dir: TempDir,
    _child: Child,
}

impl ForwardProxy {
    /// Starts one on a free port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start() -> Self {
        for _ in 0..TRIES {
            let dir = tempfile::tempdir().expect("a directory");
            let port = free_port().await;
            let file = dir.path().join("tinyproxy.conf");
            let log = dir.path().join("log");
            let text = format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 50\nLogFile \"{}\"\nLogLevel Connect\n",
                log.display()
            );
            fs::write(&file, text).expect("writable");
            let mut command = Command::new(find("tinyproxy"));
            let command = command.arg("-d").arg("-c").arg(file);
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = child.kill_on_drop(true).spawn().unwrap_or_else(|error| {
                panic!("{command:?}: {error}: `cargo xtask test e2e` installs it")
            });
            if listens(&mut child, port).await {
                return Self {
                    address: ([127, 0, 0, 1], port).into(),
                    dir,
                    _child: child,
                };
            }
        }
        panic!("tinyproxy does not start");
    }

    /// What goes into `HTTP_PROXY`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first lines of the requests that it had: `CONNECT host:port HTTP/1.1`, `POST http://… HTTP/1.1`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("Request ("));
        lines
            .filter_map(|line| Some(line.split_once("): ")?.1.to_owned()))
            .collect()
    }
}
