//! A server that holds as much as it may: who is in goes on, nobody new is taken in.

use tidewire_core::wire::{ErrorCode, ServerKind};

use crate::support::{Client, Program, http, push_until_held, subscribe, until, upgrade};

const ROOM: &str = "board:main";

fn memory(metrics: &str, kind: &str) -> u64 {
    let name = format!("tidewire_memory_bytes{{kind=\"{kind}\"}} ");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name.as_str()));
    line.unwrap_or_else(|| panic!("{name} is not in {metrics}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn near_the_budget_nobody_new_comes_in_and_at_it_pushes_wait() {
    let server = Program::start(&[
        "--memory-bytes-max",
        "400000",
        "--backpressure-threshold",
        "0.75",
    ]);
    let (public, admin) = (server.public(), server.admin());
    let mut ana = server.client("ana").await;
    let mut ben = server.client("ben").await;
    let start = ana.subscribe(ROOM).await;
    let (code, acked) = push_until_held(&mut ana, ROOM, start.cursor.epoch).await;
    assert_eq!(code, ErrorCode::Overloaded as u32);
    assert!(
        (10..40).contains(&acked),
        "{acked} pushes of 10 kB fit 400 kB, in the log and as records"
    );

    let (status, answer) = upgrade(&public).await;
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    server.logged("memory_bytes_max").await;
    ben.send([subscribe("board:other", None)]).await;
    let refused = ben
        .find(|frame| match frame {
            ServerKind::Error(error) => Some(error),
            _ => None,
        })
        .await;
    assert_eq!(refused.code, ErrorCode::Overloaded as u32);
    assert!(refused.retry_ms.is_some() && !refused.fatal);

    // What is there is served.
    let seen = ben.subscribe(ROOM).await;
    let mut at = seen.cursor.seq;
    while at < start.cursor.seq + acked {
        at = ben
            .find(|frame| match frame {
                ServerKind::Patch(patch) => Some(patch.to),
                _ => None,
            })
            .await;
    }
    let metrics = http(&admin, "GET", "/metrics", "").await.1;
    assert!(
        metrics.contains("tidewire_memory_bytes_max 400000"),
        "{metrics}"
    );
    assert!(memory(&metrics, "document") > 100_000 && memory(&metrics, "log") > 100_000);

    // Room again: the operator deletes it, and its records are given back.
    assert_eq!(
        http(&admin, "DELETE", "/channels/board:main", "").await.0,
        200
    );
    ana.close().await;
    ben.close().await;
    let connected = async || Client::connect(&public, None).await.ok();
    until("there is room again", connected).await;
}

/// Too small for anything: nothing is broken, nobody comes in, operators see why.
#[tokio::test]
async fn a_budget_below_what_anything_needs_lets_nobody_in_and_says_so() {
    let server = Program::start(&["--memory-bytes-max", "1"]);
    let (status, _) = upgrade(&server.public()).await;
    assert_eq!(status, 503);
    server.logged("memory_bytes_max").await;
    assert_eq!(
        http(&server.public(), "GET", "/health/live", "").await.0,
        200
    );
    assert_eq!(http(&server.admin(), "GET", "/metrics", "").await.0, 200);
}
