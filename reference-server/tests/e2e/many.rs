//! Very many of what anybody may make up: names of channels, and clients whose tokens take long to look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidewire_core::wire::{ErrorCode, ServerKind};
use tidewire_server::{AuthError, Config, Principal, Server};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::support::{Client, Program, command, hello, http, subscribe, until};

const MIB: u64 = 1024 * 1024;

/// Memory of a process.
#[cfg(target_os = "linux")]
fn resident(server: &Program) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.id())).unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    // Pages of 4 KiB are the smallest; with larger ones the growth looks smaller than it is, which the limit
    // leaves room for.
    pages * 4096
}

/// Asks for a range of channels that nobody has; all of them are refused.
async fn ask_for(client: &mut Client, names: std::ops::Range<u32>) {
    for first in names.step_by(1000) {
        let range = first..first + 1000;
        let frames = range.map(|n| subscribe(&format!("board:a-name-as-long-as-others-{n}"), None));
        client.send(frames).await;
        for _ in 0..1000 {
            let refused = client.find(|frame| match frame {
                ServerKind::Error(error) => Some(error),
                ServerKind::SnapshotBegin(begin) => panic!("{begin:?}"),
                _ => None,
            });
            let refused = refused.await;
            assert_eq!(refused.code, ErrorCode::Overloaded as u32, "{refused:?}");
            assert!(!refused.fatal && refused.retry_ms.is_some());
        }
    }
}

/// A hundred thousand names, of which a hundred find a place: the others leave nothing behind.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn names_that_find_no_place_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for limit in [
        &["--channels-max=100"][..],
        &[
            "--broker=disk",
            "--data-dir",
            data,
            "--disk-channels-max=100",
        ],
    ] {
        let mut program = command(&["--dev-auth", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]);
        program.args(limit);
        program.env("TIDEWIRE_LIMITS_RATE_CONNECTION_PER_S", "0");
        let server = Program::spawn(program);
        let mut eve = server.client("eve").await;
        for n in 0..100 {
            eve.subscribe(&format!("board:{n}")).await;
        }
        // What the process needs for itself is there then.
        ask_for(&mut eve, 0..20_000).await;
        let before = resident(&server);
        ask_for(&mut eve, 20_000..100_000).await;
        let grown = resident(&server).saturating_sub(before);
        // Fifty bytes of each would be 4 MB.
        assert!(grown < 3 * MIB, "{limit:?}: {grown} bytes for 80,000 names");
        let metrics = http(&server.admin(), "GET", "/metrics", "").await.1;
        assert!(metrics.contains("\ntidewire_channels 100\n"), "{metrics}");
    }
}

/// A check of tokens that waits until it is let go, and counts.
#[derive(Clone)]
struct Check {
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Check {
    fn new() -> Self {
        Self {
            under_way: Arc::default(),
            most: Arc::default(),
            go: Arc::new(Semaphore::new(0)),
        }
    }

    async fn look(self, token: String) -> Result<Principal, AuthError> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        // Also when it is dropped.
        let left = Left(self.under_way);
        self.go.acquire().await.unwrap().forget();
        drop(left);
        Ok(Principal::new(token.trim_start_matches("dev:")))
    }
}

struct Left(Arc<AtomicUsize>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serving(check: &Check, config: Config) -> String {
    let check = check.clone();
    let server = Server::builder(config)
        .authenticate(move |token, _| check.clone().look(token))
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { server.run(listener, std::future::pending()).await.unwrap() });
    address
}

#[tokio::test]
async fn so_many_tokens_are_looked_at_at_a_time_and_the_others_wait() {
    let check = Check::new();
    let mut config = Config::default();
    config.bounds.token_checks = 3;
    let address = serving(&check, config).await;
    let mut clients = Vec::new();
    for n in 0..10 {
        let mut client = Client::connect(&address, None).await.unwrap();
        client.send([hello(&format!("c{n}"))]).await;
        clients.push(client);
    }
    let three = async || (check.under_way.load(Ordering::SeqCst) == 3).then_some(());
    until("three are looked at", three).await;
    check.go.add_permits(10);
    for client in &mut clients {
        assert!(matches!(client.next().await, ServerKind::Welcome(_)));
    }
    assert_eq!(check.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_check_that_never_answers_ends_with_a_refusal_also_for_those_who_wait_for_it() {
    let check = Check::new();
    let mut config = Config::default();
    config.bounds.token_checks = 2;
    config.timeouts.authenticate = Duration::from_millis(300);
    let address = serving(&check, config).await;
    let mut clients = Vec::new();
    for n in 0..6 {
        let mut client = Client::connect(&address, None).await.unwrap();
        client.send([hello(&format!("c{n}"))]).await;
        clients.push(client);
    }
    let mut waited = 0;
    for mut client in clients {
        let (fatal, close) = client.end().await;
        let fatal = fatal.expect("an error frame");
        assert_eq!(fatal.code, ErrorCode::AuthUnavailable as u32);
        assert_eq!(close, Some(1013));
        waited += usize::from(fatal.detail.contains("too many tokens"));
    }
    assert!(waited > 0, "some never found a place");
    assert_eq!(check.under_way.load(Ordering::SeqCst), 0, "none goes on");
    // And then it answers again.
    check.go.add_permits(1);
    let mut client = Client::connect(&address, None).await.unwrap();
    client.send([hello("ana")]).await;
    assert!(matches!(client.next().await, ServerKind::Welcome(_)));
}
