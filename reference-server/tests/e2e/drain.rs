//! A server that stops asks its clients to leave first.

use std::time::{Duration, Instant};

use tidewire_core::wire::{ErrorCode, ServerKind};

use crate::support::{Client, Program, hello, http, upgrade};

async fn goaway(client: &mut Client) -> tidewire_core::wire::Goaway {
    client
        .find(|frame| match frame {
            ServerKind::Goaway(goaway) => Some(goaway),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn clients_are_asked_to_leave_and_the_server_exits_when_they_have() {
    let mut server = Program::start(&[]);
    let admin = server.admin();
    let mut ana = server.client("ana").await;
    let mut bob = server.client("bob").await;
    server.signal("TERM");
    for client in [&mut ana, &mut bob] {
        let goaway = goaway(client).await;
        assert!(goaway.alone, "nobody else serves from its broker");
        assert_eq!((goaway.by_ms, goaway.window_ms), (45_000, 2000));
        assert!(!goaway.reason.is_empty());
    }
    assert_eq!(http(&admin, "GET", "/health/ready", "").await.0, 503);
    assert_eq!(http(&admin, "GET", "/health/live", "").await.0, 200);
    let (status, body) = Client::connect(&server.public(), None).await.err().unwrap();
    assert_eq!(status, 503, "{body}");
    let (status, answer) = upgrade(&server.public()).await;
    assert_eq!(status, 503);
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    let (status, routing) = http(&server.public(), "GET", "/health/routing", "").await;
    assert_eq!(status, 200);
    assert!(routing.contains("\"status\":\"draining\""), "{routing}");
    // Those that stay a moment are still served.
    ana.subscribe("board:main").await;
    ana.close().await;
    bob.close().await;
    assert_eq!(server.exit_code().await, 0, "{}", server.log());
}

#[tokio::test]
async fn who_does_not_leave_is_closed_when_the_grace_is_over() {
    let mut server = Program::start(&["--drain-grace-ms", "500"]);
    let mut ana = server.client("ana").await;
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(goaway(&mut ana).await.by_ms, 500);
    assert_eq!(ana.end().await.1, Some(1001));
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(server.exit_code().await, 0, "{}", server.log());
}

#[tokio::test]
async fn a_client_that_says_hello_late_is_let_in_and_then_asked_to_leave() {
    let mut server = Program::start(&["--drain-grace-ms", "60000"]);
    let mut late = Client::connect(&server.public(), None).await.unwrap();
    let mut ana = server.client("ana").await;
    server.signal("TERM");
    goaway(&mut ana).await;
    late.send([hello("late")]).await;
    assert!(matches!(late.next().await, ServerKind::Welcome(_)));
    goaway(&mut late).await;
    late.close().await;
    ana.close().await;
    assert_eq!(server.exit_code().await, 0, "{}", server.log());
}

#[tokio::test]
async fn the_admin_door_drains_too() {
    let mut server = Program::start(&["--drain-grace-ms", "100"]);
    let mut ana = server.client("ana").await;
    assert_eq!(http(&server.admin(), "POST", "/drain", "").await.0, 202);
    goaway(&mut ana).await;
    assert_eq!(ana.end().await.1, Some(1001));
    assert_eq!(server.exit_code().await, 0, "{}", server.log());
    assert_eq!(ErrorCode::GoingAway.name(), "going_away");
}
