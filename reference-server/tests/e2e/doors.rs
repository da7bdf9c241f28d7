//! Who gets in: origins, subprotocols, slow headers, health.

use std::time::{Duration, Instant};

use tidewire_core::wire::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, DEADLINE, Program, exchange, http, until};

#[tokio::test]
async fn pages_of_this_machine_and_listed_ones_get_in_and_no_others() {
    let server = Program::start(&["--allow-origin", "https://app.example.com"]);
    let address = server.public();
    let own = format!("http://{address}");
    let port = address.rsplit(':').next().unwrap();
    let elsewhere = format!("http://evil.example.com:{port}");
    for (origin, admitted) in [
        (None, true),
        (Some(own.as_str()), true),
        (Some("http://localhost:5173"), true),
        (Some("http://localhost"), true),
        (Some("https://localhost:8443"), true),
        (Some("http://app.localhost:3000"), true),
        (Some("http://127.0.0.1:1"), true),
        (Some("http://127.1.2.3"), true),
        (Some("http://[::1]:5173"), true),
        (Some("https://app.example.com"), true),
        (Some("http://app.example.com"), false),
        (Some("https://app.example.com:8443"), false),
        (Some("https://app.example.com/"), false),
        (Some("https://app.example.com.evil.org"), false),
        (Some("https://xapp.example.com"), false),
        (Some("https://sub.app.example.com"), false),
        (Some("https://APP.example.com"), false),
        (Some("http://localhost.evil.org"), false),
        (Some("http://localhost@evil.org"), false),
        (Some("http://127.0.0.1.evil.org"), false),
        (Some("http://128.0.0.1"), false),
        (Some(elsewhere.as_str()), false),
        (Some("http://[::2]"), false),
        (Some("http://0.0.0.0"), false),
        (Some("file://"), false),
        (Some("chrome-extension://abcdef"), false),
        (Some("null"), false),
        (Some(""), false),
        (Some("*"), false),
    ] {
        match Client::connect(&address, origin).await {
            Ok(_) => assert!(admitted, "{origin:?} was let in"),
            Err((status, body)) => {
                assert!(!admitted && status == 403, "{origin:?}: {status} {body}");
                assert!(body.contains("allow_origin"), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn the_log_names_a_foreign_page_and_the_host_that_it_asked_for_in_few_words() {
    let server = Program::start(&[]);
    let (origin, host) = ("o".repeat(3000), "h".repeat(3000));
    let request = format!(
        "POST /v1/push HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{origin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(exchange(&server.public(), &request).await.0, 403);
    server.logged("a page may not connect").await;
    let log = server.log();
    let line = log.lines().find(|line| line.contains("a page may not"));
    let line = line.expect("it was logged");
    assert!(
        line.contains(&format!("https://{}", &origin[..192])),
        "{line}"
    );
    assert!(line.contains(&host[..200]), "{line}");
    assert!(line.contains("allow_origin"), "{line}");
    assert!(line.len() < 800, "{line}");
}

#[tokio::test]
async fn an_upgrade_without_our_subprotocols_is_told_which_are_spoken() {
    let server = Program::start(&[]);
    for offered in [None, Some("tidewire.v2.proto"), Some("mqtt")] {
        let refused = Client::connect_with(&server.public(), None, offered).await;
        let (status, body) = refused.err().expect("refused");
        assert_eq!(status, 400);
        for spoken in ["tidewire.v1.proto", "tidewire.v1.json"] {
            assert!(body.contains(spoken), "{offered:?}: {body}");
        }
    }
    for (offered, chosen) in [
        ("tidewire.v1.json, tidewire.v1.proto", Codec::Protobuf),
        ("mqtt, tidewire.v1.json", Codec::Json),
    ] {
        let client = Client::connect_with(&server.public(), None, Some(offered)).await;
        let client = client.expect("one of them is spoken");
        assert_eq!(client.codec(), chosen);
    }
}

#[tokio::test]
async fn a_plain_request_to_the_websocket_path_is_an_error_and_not_a_hang() {
    let server = Program::start(&[]);
    let (status, _) = http(&server.public(), "GET", "/v1/ws", "").await;
    assert!((400..500).contains(&status), "{status}");
}

#[tokio::test]
async fn slow_headers_are_cut_off_and_starve_nobody() {
    let server = Program::start(&[]);
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.public()).await.unwrap();
        stream
            .write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
            .await
            .unwrap();
        slow.push(stream);
    }
    // One more that keeps sending a little: progress does not buy time.
    let mut dripping = TcpStream::connect(server.public()).await.unwrap();
    let asked = Instant::now();
    assert_eq!(
        http(&server.public(), "GET", "/health/live", "").await.0,
        200
    );
    assert!(asked.elapsed() < Duration::from_secs(5));
    server.client("ana").await;
    let mut cut = 0;
    while begun.elapsed() < DEADLINE && cut == 0 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cut += usize::from(
            dripping
                .write_all(b"GET /".get(..1).unwrap())
                .await
                .is_err(),
        );
    }
    assert_eq!(cut, 1, "a dripping client is still connected");
    for mut stream in slow {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        // A reset is as good as an end.
        let _ = tokio::time::timeout(DEADLINE, read).await.expect("cut off");
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_endless_header_is_refused() {
    let server = Program::start(&[]);
    let big = format!("X-Big: {}\r\n", "x".repeat(64 * 1024));
    let (status, _) = http(&server.public(), "GET", "/health/live", &big).await;
    assert!(status == 431 || status == 0, "{status}");
    let many = "X-A: 1\r\n".repeat(200);
    let (status, _) = http(&server.public(), "GET", "/health/live", &many).await;
    assert!(status == 431 || status == 0, "{status}");
    server.client("ana").await;
}

#[tokio::test]
async fn health_answers_on_both_doors_and_metrics_only_on_the_admin_door() {
    let server = Program::start(&[]);
    let mut ana = server.client("ana").await;
    ana.subscribe("board:main").await;
    for door in [server.public(), server.admin()] {
        assert_eq!(http(&door, "GET", "/health/live", "").await.0, 200);
        assert_eq!(http(&door, "GET", "/health/ready", "").await.0, 200);
        let (status, body) = http(&door, "GET", "/health/routing", "").await;
        assert_eq!(status, 200);
        assert!(body.contains("\"status\":\"ok\",\"members\":1"), "{body}");
        assert!(body.contains("\"divergent\":false"), "{body}");
        // How many use it is for operators.
        let counts = "\"channels\":1,\"connections\":1,\"subscriptions\":1";
        assert_eq!(body.contains(counts), door == server.admin(), "{body}");
        assert_eq!(
            body.contains("connections"),
            door == server.admin(),
            "{body}"
        );
    }
    for (method, path) in [
        ("GET", "/metrics"),
        ("POST", "/drain"),
        ("POST", "/channels/board:main"),
        ("DELETE", "/channels/board:main"),
    ] {
        assert_eq!(
            http(&server.public(), method, path, "").await.0,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn further_connections_are_told_to_come_back_later() {
    let server = Program::start(&["--connections-max", "2"]);
    let first = server.client("ana").await;
    let _second = server.client("bob").await;
    let refused = Client::connect(&server.public(), None).await;
    assert_eq!(refused.err().expect("refused").0, 503);
    first.close().await;
    let connected = async || Client::connect(&server.public(), None).await.ok();
    until("the place is freed", connected).await;
}
