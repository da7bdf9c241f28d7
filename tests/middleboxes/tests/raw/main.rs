//! What each transport meets behind each box, with plain WebSockets and requests: what the server owes is seen without
//! any client of ours.

#[path = "../../../../reference-server/tests/e2e/http.rs"]
#[allow(dead_code, reason = "the server's own tests use more of it")]
mod http;
mod probe;
mod special;
mod support;
mod through_tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewire_middleboxes::{Fate, Middlebox, ROWS, Row, Server, broker, repository, table};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::through_tls::Plain;

/// As usual: no row needs another.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(25);

/// How many boxes with their servers run at a time: two cores have to be enough for all of them.
const AT_A_TIME: usize = 8;

/// Held by tests that keep the processor busy, and by those that need it in time.
pub(crate) static BUSY: Mutex<()> = Mutex::const_new(());

/// A box before as many servers as it wants, on one broker.
pub(crate) struct Stage {
    pub(crate) servers: Vec<Server>,
    pub(crate) middlebox: Middlebox,
    /// Where to connect without TLS.
    pub(crate) plain: Plain,
}

impl Stage {
    pub(crate) async fn of(row: &Row, heartbeat: Duration) -> Self {
        let broker = broker();
        let mut servers = Vec::new();
        for _ in 0..row.servers() {
            servers.push(Server::start(&broker, heartbeat).await);
        }
        let addresses: Vec<_> = servers.iter().map(Server::address).collect();
        let middlebox = Middlebox::start(row, &addresses).await;
        let plain = Plain::before(&middlebox).await;
        Self {
            servers,
            middlebox,
            plain,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.plain.address().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_transport_meets_what_its_row_says() {
    let _busy = BUSY.lock().await;
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let mut probes = JoinSet::new();
    for row in &ROWS {
        for transport in ["WebSocket", "SSE", "long-poll"] {
            let turns = Arc::clone(&turns);
            probes.spawn(async move {
                let _turn = turns.acquire_owned().await;
                // A box of its own for each: one transport's requests do not count for another's.
                let stage = Stage::of(row, HEARTBEAT).await;
                let address = stage.address();
                let (expected, found) = match transport {
                    "WebSocket" => (row.websocket, probe::websocket(&address).await),
                    "SSE" => (row.sse, probe::sse(&address).await),
                    _ => (row.poll, probe::poll(&address).await),
                };
                (row, transport, expected, found)
            });
        }
    }
    let mut wrong = BTreeMap::new();
    let mut count = 0;
    while let Some(probed) = probes.join_next().await {
        let (row, transport, expected, found) = probed.expect("a probe does not panic");
        count += 1;
        if expected != found {
            wrong.insert((row.name, transport), (expected, found));
        }
    }
    assert_eq!(count, 3 * ROWS.len());
    assert!(
        wrong.is_empty(),
        "row and transport: expected, found\n{wrong:#?}"
    );
}

#[test]
fn what_works_first_is_what_a_client_is_to_end_up_on() {
    let by = |name: &str| Row::named(name).first_that_works();
    assert_eq!(by("captive portal"), None);
    assert_eq!(by("HAProxy that refuses Upgrade"), Some("sse"));
    let last = ROWS
        .iter()
        .find(|row| row.sse == Fate::Silent)
        .expect("such a row");
    assert_eq!(last.first_that_works(), Some("long-poll"));
}

#[test]
fn the_document_shows_the_rows_and_the_files_of_these_tests() {
    let document = std::fs::read_to_string(repository("docs/transports.md")).expect("it is there");
    assert!(
        document.contains(&table()),
        "docs/transports.md needs this table:\n{}",
        table()
    );
    for (language, file) in [
        ("nginx", "deploy/nginx/tidewire.conf"),
        ("haproxy", "deploy/haproxy/haproxy.cfg"),
    ] {
        let text = std::fs::read_to_string(repository(file)).expect("it is there");
        let fence = format!("```{language} file={file}\n{text}```\n");
        assert!(
            document.contains(&fence),
            "docs/transports.md does not quote {file} as it is"
        );
    }
}
