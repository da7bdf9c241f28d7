//! Starting a box before servers.

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tidewire_chaos_proxy::{ChaosProxy, Conditions, Direction, Ending};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::row::{Kind, Row};
use crate::upgrade::{Upgrade, UpgradeBox};

/// How long a program may take to listen.
const STARTING: Duration = Duration::from_secs(30);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(10);
/// A free port may be taken by somebody else before the program has it.
pub(crate) const TRIES: usize = 5;

/// A running box. It ends when it is dropped.
#[derive(Debug)]
pub struct Middlebox {
    address: SocketAddr,
    is_tls: bool,
    _runs: Runs,
}

#[derive(Debug)]
#[allow(dead_code, reason = "kept running by being there")]
enum Runs {
    Program(Child, TempDir),
    Upgrade(UpgradeBox),
    Chaos(ChaosProxy),
}

impl Middlebox {
    /// Starts the box of a row. One that leads to two servers takes the last one for both if there is one only.
    ///
    /// # Panics
    ///
    /// When it does not start; a program that is missing is named.
    pub async fn start(row: &Row, servers: &[SocketAddr]) -> Self {
        let first = servers[0];
        match row.kind {
            Kind::Nginx(file) => program(Proxy::Nginx, file, servers, false).await,
            Kind::NginxPlain(file) => program(Proxy::Nginx, file, servers, true).await,
            Kind::Haproxy(file) => program(Proxy::Haproxy, file, servers, false).await,
            Kind::Swallows => upgrade(first, Upgrade::Swallowed).await,
            Kind::Resets => upgrade(first, Upgrade::Reset).await,
            Kind::Truncates(bytes) => {
                let proxy = ChaosProxy::start(first, 1).await.expect("a free port");
                let limit = Conditions::default().limit(bytes, Ending::Close);
                proxy
                    .set(Direction::Downstream, limit)
                    .expect("there is such a network");
                Self {
                    address: proxy.address(),
                    is_tls: false,
                    _runs: Runs::Chaos(proxy),
                }
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS there, with a certificate for `localhost` of the authority in tests/e2e/fixtures/tls.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// What a client is given.
    #[must_use]
    pub fn url(&self) -> String {
        match self.is_tls {
            true => format!("https://localhost:{}", self.address.port()),
            false => format!("http://{}", self.address),
        }
    }
}

/// A path in the repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

async fn upgrade(server: SocketAddr, upgrade: Upgrade) -> Middlebox {
    let it = UpgradeBox::start(server, upgrade)
        .await
        .expect("a free port");
    Middlebox {
        address: it.address,
        is_tls: false,
        _runs: Runs::Upgrade(it),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Haproxy,
}

/// Starts nginx or HAProxy with a file as users copy it, but for addresses and the certificate.
async fn program(proxy: Proxy, file: &str, servers: &[SocketAddr], plain: bool) -> Middlebox {
    let written = fs::read_to_string(repository(file)).expect("the repository has its files");
    for _ in 0..TRIES {
        let dir = tempfile::tempdir().expect("a directory");
        let (http, tls) = (free_port().await, free_port().await);
        let text = put_in(&written, servers, http, tls, dir.path());
        let is_tls = written.contains("listen 443 ssl;") && !plain;
        let port = if is_tls { tls } else { http };
        let mut command = match proxy {
            Proxy::Nginx => nginx(dir.path(), &text),
            Proxy::Haproxy => haproxy(dir.path(), &text),
        }
        .expect("a temporary directory can be written to");
        let log = fs::File::create(dir.path().join("log")).expect("writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = child.kill_on_drop(true).spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}: `cargo xtask test e2e` installs it")
        });
        if listens(&mut child, port).await {
            return Middlebox {
                address: ([127, 0, 0, 1], port).into(),
                is_tls,
                _runs: Runs::Program(child, dir),
            };
        }
        let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        assert!(
            log.contains("in use") || log.contains("bind"),
            "{file}:\n{log}"
        );
    }
    panic!("{file}: every port was taken");
}

/// The file with this machine's addresses.
fn put_in(written: &str, servers: &[SocketAddr], http: u16, tls: u16, dir: &Path) -> String {
    let [one, two] = [servers[0], servers[servers.len() - 1]].map(|server| server.to_string());
    let mut text = written
        .replace("listen 80;", &format!("listen 127.0.0.1:{http};"))
        .replace("listen 443 ssl;", &format!("listen 127.0.0.1:{tls} ssl;"))
        .replace("bind :80", &format!("bind 127.0.0.1:{http}"))
        .replace("127.0.0.1:7400", &one)
        .replace("127.0.0.1:7410", &two);
    let fixtures = repository("tests/e2e/fixtures/tls");
    for (path, file, label) in [
        ("/etc/ssl/app.example.com.pem", "server.der", "CERTIFICATE"),
        (
            "/etc/ssl/app.example.com.key",
            "server.key.der",
            "PRIVATE KEY",
        ),
    ] {
        if text.contains(path) {
            let der = fs::read(fixtures.join(file)).expect("the fixture is there");
            let here = dir.join(file);
            fs::write(&here, pem(label, &der)).expect("writable");
            text = text.replace(path, &here.display().to_string());
        }
    }
    text
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("ASCII"))
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn nginx(dir: &Path, text: &str) -> io::Result<Command> {
    let place = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {place}/{name};\n"))
        .collect();
    fs::write(dir.join("site.conf"), text)?;
    // One process, which ends with the test that started it.
    let main = format!(
        "daemon off;\nmaster_process off;\npid {place}/pid;\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{temporary}include {place}/site.conf;\n}}\n"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, main)?;
    let mut command = Command::new(find("nginx"));
    command
        .arg("-p")
        .arg(dir)
        .args(["-e", "stderr", "-c"])
        .arg(file);
    Ok(command)
}

fn haproxy(dir: &Path, text: &str) -> io::Result<Command> {
    let file = dir.join("haproxy.cfg");
    // Otherwise two of them may listen on one port, which was free for both, and share its connections.
    fs::write(&file, format!("global\n    noreuseport\n\n{text}"))?;
    let mut command = Command::new(find("haproxy"));
    command.args(["-db", "-f"]).arg(file);
    Ok(command)
}

/// Debian puts such programs where only root looks.
pub(crate) fn find(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = dirs.map(|dir| dir.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| name.into())
}

pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Waits until the program accepts; `false` if it has ended instead.
pub(crate) async fn listens(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + STARTING;
    while Instant::now() < deadline {
        if child.try_wait().expect("an own child").is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        sleep(LOOK).await;
    }
    panic!("the program does not listen");
}
