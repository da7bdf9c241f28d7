//! A client that does not read delays nobody else.

use std::time::{Duration, Instant};

use tidewire_core::wire::ServerKind;

use crate::support::{Program, card, http, push, put};

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody_and_is_told_that_it_lagged() {
    let server = Program::start(&[]);
    let mut writer = server.client("writer").await;
    let mut reader = server.client("reader").await;
    let mut stuck = server.client("stuck").await;
    let start = writer.subscribe("board:main").await;
    reader.subscribe("board:main").await;
    stuck.subscribe("board:main").await;
    // Far more than sockets and the queue hold together.
    let title = "x".repeat(60 * 1024);
    let rounds = 300;
    let mut slowest = Duration::ZERO;
    for n in 1..=rounds {
        let sent = Instant::now();
        let item = vec![put(card(&(n % 8).to_string(), &title))];
        writer
            .send([push("board:main", start.cursor.epoch, n, item)])
            .await;
        let to = reader
            .find(|frame| match frame {
                ServerKind::Patch(patch) => Some(patch.to),
                _ => None,
            })
            .await;
        assert_eq!(
            to,
            start.cursor.seq + n,
            "the reader gets every patch in order"
        );
        slowest = slowest.max(sent.elapsed());
        writer
            .find(|frame| matches!(frame, ServerKind::Ack(ack) if ack.through >= n).then_some(()))
            .await;
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let metrics = http(&server.admin(), "GET", "/metrics", "").await.1;
    let lagged = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tidewire_lagged_total "))
        .unwrap();
    assert_ne!(lagged, "0", "{metrics}");
    // It reads again: what was queued, then the notice, and everything else still works.
    stuck
        .find(|frame| matches!(frame, ServerKind::Lagged(_)).then_some(()))
        .await;
    let document = stuck
        .document("board:main", start.cursor.seq + rounds)
        .await;
    assert_eq!(document.len(), 8);
}
