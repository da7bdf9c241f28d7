//! The admin door: metrics, creating and deleting channels.

use tidewire_core::wire::{ErrorCode, OpKind, ServerKind};

use crate::support::{Program, card, http, push, put, subscribe, until};

const ROOM: &str = "board:main";

fn value(metrics: &str, name: &str) -> f64 {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")))
        .unwrap_or_else(|| panic!("{name} is not in {metrics}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let start = ana.subscribe(ROOM).await;
    ana.send([push(ROOM, start.cursor.epoch, 1, vec![put(card("1", "x"))])])
        .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
    let bob = server.client("bob").await;
    bob.close().await;
    let settled = async || {
        let metrics = http(&server.admin(), "GET", "/metrics", "").await.1;
        // A close is counted before its connection is taken off the list, and an answer before it is written.
        let settled = metrics.contains("tidewire_closes_total{reason=\"client\"} 1")
            && value(&metrics, "tidewire_connections") == 1.0
            && value(&metrics, "tidewire_send_queue_bytes") == 0.0;
        settled.then_some(metrics)
    };
    let metrics = until("what was done is counted", settled).await;
    assert_eq!(
        value(&metrics, "tidewire_closes_total{reason=\"client\"}"),
        1.0
    );
    assert_eq!(value(&metrics, "tidewire_connections"), 1.0);
    assert_eq!(value(&metrics, "tidewire_connects_total"), 2.0);
    assert_eq!(value(&metrics, "tidewire_channels"), 1.0);
    assert_eq!(value(&metrics, "tidewire_subscriptions"), 1.0);
    assert_eq!(
        value(&metrics, "tidewire_appends_total"),
        2.0,
        "the opening and the push"
    );
    assert_eq!(
        value(&metrics, "tidewire_append_duration_seconds_count"),
        2.0
    );
    assert_eq!(value(&metrics, "tidewire_send_queue_bytes"), 0.0);
    for name in ["conflicts", "lagged", "broker_failures"] {
        assert_eq!(value(&metrics, &format!("tidewire_{name}_total")), 0.0);
    }
    for name in [
        "frames_in",
        "frames_out",
        "in_bytes",
        "out_bytes",
        "messages_out",
    ] {
        assert!(
            value(&metrics, &format!("tidewire_{name}_total")) > 0.0,
            "{name}"
        );
    }
    for line in metrics.lines().filter(|line| line.starts_with("# TYPE")) {
        assert!(line.starts_with("# TYPE tidewire_"), "{line}");
    }
}

#[tokio::test]
async fn a_deletion_is_seen_by_clients_and_the_channel_starts_anew() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    let start = ana.subscribe(ROOM).await;
    ana.send([push(ROOM, start.cursor.epoch, 1, vec![put(card("1", "x"))])])
        .await;
    ana.find(|frame| matches!(frame, ServerKind::Ack(_)).then_some(()))
        .await;
    assert_eq!(
        http(&server.admin(), "DELETE", "/channels/board:main", "")
            .await
            .0,
        200
    );
    ana.find(|frame| match frame {
        ServerKind::Patch(patch) => patch
            .ops
            .iter()
            .any(|op| matches!(op.kind, Some(OpKind::Clear(_))))
            .then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(
        http(&server.admin(), "DELETE", "/channels/board:main", "")
            .await
            .0,
        404
    );
    assert_eq!(
        http(&server.admin(), "DELETE", "/channels/board:none", "")
            .await
            .0,
        404
    );
    assert_eq!(
        http(&server.admin(), "DELETE", "/channels/nonsense", "")
            .await
            .0,
        400
    );
    let mut bob = server.client("bob").await;
    let again = bob.subscribe(ROOM).await;
    assert!(again.records.is_empty());
    // Used again, it exists again, and can be deleted again.
    assert_eq!(
        http(&server.admin(), "DELETE", "/channels/board:main", "")
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_channel_that_only_operators_create_is_unknown_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(&file, "[namespace.board]\ncreate = \"admin\"\n").unwrap();
    let data = dir.path().join("data");
    let server = Program::start(&[
        "--config",
        file.to_str().unwrap(),
        "--broker",
        "disk",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    let mut ana = server.client("ana").await;
    for (method, path, status) in [
        ("POST", "/channels/board:main", 201),
        ("POST", "/channels/board:main", 200),
        ("DELETE", "/channels/board:main", 200),
        ("POST", "/channels/board:main", 201),
        ("DELETE", "/channels/board:main", 200),
    ] {
        let (code, body) = http(&server.admin(), method, path, "").await;
        assert_eq!(code, status, "{method} {path}: {body}");
        if method == "POST" {
            ana.subscribe(ROOM).await;
            continue;
        }
        let mut late = server.client("late").await;
        late.send([subscribe(ROOM, None)]).await;
        let code = late
            .find(|frame| match frame {
                ServerKind::Error(error) => Some(error.code),
                _ => None,
            })
            .await;
        assert_eq!(code, ErrorCode::UnknownChannel as u32);
    }
}

#[tokio::test]
async fn the_admin_door_is_not_for_pages() {
    let server = Program::start(&[]);
    for origin in ["http://localhost:5173", "null", "https://evil.example.com"] {
        let headers = format!("Origin: {origin}\r\n");
        let (status, _) = http(&server.admin(), "POST", "/drain", &headers).await;
        assert_eq!(status, 403, "{origin}");
    }
    server.client("ana").await;
}
