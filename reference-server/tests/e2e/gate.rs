//! Who gets in: development tokens, keys of the admin door, limits per address.

use std::future::pending;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidewire_core::wire::{ClientKind, ErrorCode, ErrorFrame, Ping, ServerKind};
use tidewire_server::config::{ApiKey, ApiRight, ApiSecret};
use tidewire_server::{AuthError, Config, Principal, RunError, Server};
use tokio::net::TcpListener;

use crate::support::{Client, Program, command, exchange, hello, http, run, until, upgrade};

fn dev() -> Config {
    let mut config = Config::default();
    config.dev_auth = true;
    config
}

/// What a client is told after its hello: a welcome, or the fatal error.
async fn said(mut client: Client, name: &str) -> Result<String, ErrorFrame> {
    client.send([hello(name)]).await;
    match client.next().await {
        ServerKind::Welcome(welcome) => Ok(welcome.principal),
        ServerKind::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

async fn through(address: &str, header: (&'static str, &str)) -> Result<String, ErrorFrame> {
    let client = Client::connect_through(address, header).await;
    said(client.expect("upgraded"), "ana").await
}

#[tokio::test]
async fn a_development_token_that_came_through_a_proxy_from_elsewhere_is_refused() {
    let server = Program::start(&[]);
    for (name, value, taken) in [
        ("x-forwarded-for", "127.0.0.1", true),
        ("x-forwarded-for", "203.0.113.9", false),
        ("x-forwarded-for", "127.0.0.1, 203.0.113.9", false),
        ("x-real-ip", "203.0.113.9", false),
        ("x-real-ip", "::1", true),
        ("forwarded", "for=203.0.113.9", false),
        ("forwarded", "for=127.0.0.1;proto=http", true),
        ("forwarded", "proto=https", false),
    ] {
        match through(&server.public(), (name, value)).await {
            Ok(principal) => assert!(taken && principal == "ana", "{name}: {value}"),
            Err(error) => {
                assert!(!taken, "{name}: {value}: {}", error.detail);
                assert_eq!(error.code, ErrorCode::Unauthenticated as u32);
                assert!(error.detail.contains("authenticate"), "{}", error.detail);
            }
        }
    }
}

/// A program that serves the router itself listens where it likes.
#[tokio::test]
async fn a_router_takes_development_tokens_only_where_the_peer_is_known() {
    let server = Server::builder(dev()).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = server.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = Client::connect(&address, None).await.unwrap();
    let refused = said(client, "ana").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthenticated as u32);
    assert!(
        refused
            .detail
            .contains("into_make_service_with_connect_info"),
        "{}",
        refused.detail
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = server
        .router()
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = Client::connect(&address, None).await.unwrap();
    assert_eq!(said(client, "ana").await.unwrap(), "ana");
}

#[tokio::test]
async fn the_applications_check_sees_development_tokens_too() {
    let server = Server::builder(dev())
        .authenticate(|token, _| async move {
            match token.as_str() {
                "dev:ana" => Ok(Principal::new("ana of the application")),
                _ => Err(AuthError::terminal("not one of ours")),
            }
        })
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { server.run(listener, pending()).await.unwrap() });
    let client = Client::connect(&address, None).await.unwrap();
    assert_eq!(said(client, "ana").await.unwrap(), "ana of the application");
    let client = Client::connect(&address, None).await.unwrap();
    assert_eq!(
        said(client, "eve").await.unwrap_err().detail,
        "not one of ours"
    );
}

/// A server with keys: `ops` may do all, `scrape` looks, `boards` rules some channels.
fn with_keys(dir: &std::path::Path, more: &str) -> Program {
    std::fs::write(dir.join("ops.key"), "ops-0123456789abcdef\n").unwrap();
    std::fs::write(dir.join("scrape.key"), "scrape-0123456789abcdef").unwrap();
    std::fs::write(dir.join("boards.key"), "boards-0123456789abcdef\n").unwrap();
    let toml = format!(
        "{more}
        [[api.key]]
        name = 'ops'
        key_file = 'ops.key'
        rights = ['read', 'admin']
        channels = ['*']
        [[api.key]]
        name = 'scrape'
        key_file = 'scrape.key'
        rights = ['read']
        [[api.key]]
        name = 'boards'
        key_file = 'boards.key'
        rights = ['admin']
        channels = ['board:*']
        [[api.key]]
        name = 'hashed'
        # sha256 of hashed-0123456789abcdef
        sha256 = '{}'
        rights = ['read', 'write']
        channels = []
        tenants = []
        act_as = ['ana']
        ",
        HASHED
    );
    let file = dir.join("server.toml");
    std::fs::write(&file, toml).unwrap();
    Program::start(&["--config", file.to_str().unwrap()])
}

const HASHED: &str = "49a6a064319e962b792be1789582749c97e54e74ee707cf2918d98dc6038c338";

#[tokio::test]
async fn once_there_is_a_key_the_admin_door_asks_for_one_and_for_its_rights() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_keys(dir.path(), "");
    let admin = server.admin();
    let ask = async |method: &str, path: &str, key: &str| {
        let header = match key {
            "" => String::new(),
            key => format!("Authorization: {key}\r\n"),
        };
        http(&admin, method, path, &header).await.0
    };
    let ops = "Bearer ops-0123456789abcdef";
    let scrape = "bearer scrape-0123456789abcdef";
    let boards = "Bearer boards-0123456789abcdef";
    let hashed = "Bearer hashed-0123456789abcdef";
    for (method, path, key, status) in [
        ("GET", "/metrics", "", 401),
        ("GET", "/metrics", "Bearer ", 401),
        ("GET", "/metrics", "Bearer wrong-0123456789abcdef", 401),
        ("GET", "/metrics", "Bearer ops-0123456789abcde", 401),
        ("GET", "/metrics", "Bearer ops-0123456789abcdef0", 401),
        ("GET", "/metrics", "Basic ops-0123456789abcdef", 401),
        ("GET", "/metrics", "ops-0123456789abcdef", 401),
        ("GET", "/metrics", ops, 200),
        ("GET", "/metrics", scrape, 200),
        ("GET", "/metrics", hashed, 200),
        ("GET", "/metrics", boards, 403),
        ("GET", "/health/live", "", 200),
        ("GET", "/health/ready", "", 200),
        ("GET", "/health/routing", "", 401),
        ("GET", "/health/routing", scrape, 200),
        ("GET", "/faults", "", 401),
        ("GET", "/faults", scrape, 403),
        ("GET", "/faults", boards, 403),
        ("GET", "/faults", ops, 404),
        ("POST", "/channels/board:a", "", 401),
        ("POST", "/channels/board:a", scrape, 403),
        ("POST", "/channels/board:a", hashed, 403),
        ("POST", "/channels/chat:a", boards, 403),
        ("POST", "/channels/board:a", boards, 201),
        ("DELETE", "/channels/board%3Aa", boards, 200),
        ("POST", "/channels/chat:a", ops, 201),
        ("POST", "/drain", "", 401),
        ("POST", "/drain", scrape, 403),
        ("POST", "/drain", boards, 403),
        ("POST", "/drain", ops, 202),
    ] {
        assert_eq!(
            ask(method, path, key).await,
            status,
            "{method} {path} {key}"
        );
    }
}

#[tokio::test]
async fn the_drain_command_shows_a_key_and_waits_until_everybody_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = with_keys(dir.path(), "");
    let url = format!("http://{}", server.admin());
    let drain = |url: &str, key: Option<&str>, timeout: &str| {
        let mut command = command(&["drain", "--admin", url, "--timeout", timeout]);
        if let Some(key) = key {
            command.args(["--key-file".into(), dir.path().join(key)]);
        }
        command
    };
    let ana = server.client("ana").await;
    let ended = drain(&url, None, "5s").output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{err}");
    assert!(
        err.contains("401") && err.contains("Authorization"),
        "{err}"
    );
    let ended = drain(&url, Some("missing.key"), "5s").output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let mut waiting = drain(&url, None, "30s");
    waiting.env("TIDEWIRE_API_KEY_FILE", dir.path().join("ops.key"));
    let mut waiting = waiting.spawn().unwrap();
    server.logged("draining").await;
    ana.close().await;
    assert_eq!(server.exit_code().await, 0, "{}", server.log());
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    // Somebody stays.
    let other = with_keys(dir.path(), "");
    let _stays = other.client("ana").await;
    let ended = drain(&other.admin(), Some("ops.key"), "300ms")
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{err}");
    assert!(err.contains("1 clients are still connected"), "{err}");
    // Nobody is there any more.
    let ended = drain(&url, Some("ops.key"), "5s").output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

#[tokio::test]
async fn metrics_can_be_left_open_beside_keys() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_keys(dir.path(), "admin_open_metrics = true");
    assert_eq!(http(&server.admin(), "GET", "/metrics", "").await.0, 200);
    assert_eq!(http(&server.admin(), "POST", "/drain", "").await.0, 401);
}

#[tokio::test]
async fn a_name_that_somebody_points_at_this_machine_does_not_open_the_admin_door() {
    let server = Program::start(&["--admin-hosts", "Admin.internal"]);
    let admin = server.admin();
    let port = admin.rsplit(':').next().unwrap();
    let get = async |lines: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        exchange(&admin, &request).await.0
    };
    for (lines, status) in [
        (format!("Host: {admin}\r\n"), 200),
        (format!("Host: localhost:{port}\r\n"), 200),
        ("Host: LOCALHOST\r\n".into(), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: admin.internal:1\r\n".into(), 200),
        (format!("Host: evil.example.com:{port}\r\n"), 403),
        ("Host: localhost.evil.example.com\r\n".into(), 403),
        ("Host: admin.internal.evil.example.com\r\n".into(), 403),
        ("Host: 192.0.2.1\r\n".into(), 403),
        ("Host: a@localhost\r\n".into(), 400),
        ("Host: \r\n".into(), 400),
        (String::new(), 400),
        (format!("Host: {admin}\r\nHost: {admin}\r\n"), 400),
        // A page of this name itself: same origin, so no Origin header with a GET.
        (
            format!("Host: {admin}\r\nSec-Fetch-Site: same-origin\r\n"),
            403,
        ),
        (
            format!("Host: {admin}\r\nSec-Fetch-Site: cross-site\r\n"),
            403,
        ),
        (format!("Host: {admin}\r\nSec-Fetch-Site: none\r\n"), 200),
        (format!("Host: {admin}\r\nOrigin: http://{admin}\r\n"), 403),
    ] {
        assert_eq!(get(&lines).await, status, "{lines:?}");
    }
}

#[tokio::test]
async fn fault_plans_are_for_development_or_where_they_are_switched_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Program::start(&[]);
    assert_eq!(http(&server.admin(), "DELETE", "/faults", "").await.0, 200);
    // Without `dev_auth` only a program of one's own runs at all.
    for (faults, status) in [(false, 404), (true, 200)] {
        let mut config = Config::default();
        config.faults = faults;
        config.data_dir = dir.path().into();
        let server = Server::builder(config)
            .authenticate(async |_, _| Ok(Principal::new("ana")))
            .build()
            .unwrap();
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = admin.local_addr().unwrap().to_string();
        tokio::spawn(server.run_with_admin(public, Some(admin), pending()));
        let (found, _) = http(&address, "DELETE", "/faults", "").await;
        assert_eq!(found, status, "faults = {faults}");
    }
}

#[test]
fn keys_that_mean_nothing_exit_2_and_say_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(dir.path().join("good.key"), "good-0123456789abcdef\n").unwrap();
    std::fs::write(dir.path().join("empty.key"), "\n").unwrap();
    std::fs::write(dir.path().join("two.key"), "one two\n").unwrap();
    let good = "name = 'a'\nkey_file = 'good.key'\nrights = ['read']\n";
    for (key, parts) in [
        (
            "rights = ['read']\nkey_file = 'good.key'",
            &["api.key[0].name", "name ="][..],
        ),
        (
            "name = 'a'\nrights = ['read']",
            &["api.key[0].key_file", "sha256"],
        ),
        (
            "name = 'a'\nkey_file = 'good.key'",
            &["api.key[0].rights", "rights = [\"read\"]"],
        ),
        (
            &format!("{good}sha256 = '{}'", "0".repeat(64)),
            &["api.key[0].sha256", "not both"],
        ),
        (
            "name = 'a'\nsha256 = 'beef'\nrights = ['read']",
            &["api.key[0].sha256", "beef", "64 hex digits"],
        ),
        (
            "name = 'a b'\nkey_file = 'good.key'\nrights = ['read']",
            &["api.key[0].name", "a b", "A-Z"],
        ),
        (
            "name = 'a'\nkey_file = 'good.key'\nrights = ['rule']",
            &["api.key[0].rights", "rule", "presence, call, admin"],
        ),
        (
            &format!("{good}channels = ['board*']"),
            &["api.key[0].channels", "board*", "board:*"],
        ),
        (
            &format!("{good}tenants = ['a:b']"),
            &["api.key[0].tenants", "a:b", "A-Z"],
        ),
        (
            &format!("{good}act_as = ['ana']"),
            &["api.key[0].act_as", "ana", "acts as nobody"],
        ),
        (
            "name = 'a'\nkey_file = 'good.key'\nrights = ['write']\nact_as = ['']",
            &["api.key[0].act_as", "1-256 bytes"],
        ),
        (
            &format!("{good}colour = 'red'"),
            &["api.key[0].colour", "red", "act_as"],
        ),
        (
            &format!("{good}[[api.key]]\n{good}"),
            &["api.key[1].name", "another key has this name"],
        ),
        (
            &format!("{good}[[api.key]]\nname = 'b'\nkey_file = 'good.key'\nrights = ['read']"),
            &["api.key[1].key_file", "another key is the same", "file "],
        ),
        (
            "name = 'a'\nkey_file = 'missing.key'\nrights = ['read']",
            &[
                "api.key[0].key_file",
                "missing.key",
                "name a file",
                "server.toml",
            ],
        ),
        (
            "name = 'a'\nkey_file = 'empty.key'\nrights = ['read']",
            &["empty.key", "openssl rand -hex 32"],
        ),
        (
            "name = 'a'\nkey_file = 'two.key'\nrights = ['read']",
            &["two.key", "visible ASCII"],
        ),
    ] {
        std::fs::write(&file, format!("[[api.key]]\n{key}")).unwrap();
        for command in ["check-config", "--listen=127.0.0.1:0"] {
            let output = run(&["--dev-auth", "--config", file.to_str().unwrap(), command]);
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{key}: {err}");
            for part in parts {
                assert!(err.contains(part), "{key}: {part:?} is not in: {err}");
            }
        }
    }
    for whole in ["api = 1", "api.key = 'x'", "api.key = ['x']", "api.kay = 1"] {
        std::fs::write(&file, whole).unwrap();
        let output = run(&[
            "check-config",
            "--dev-auth",
            "--config",
            file.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(2), "{whole}");
    }
}

#[tokio::test]
async fn an_admin_door_that_others_reach_needs_a_key() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = run(&["check-config", "--dev-auth", "--admin", address]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        for part in ["admin = ", address, "[[api.key]]", "flag --admin"] {
            assert!(err.contains(part), "{part:?} is not in: {err}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    let digest = "0".repeat(64);
    let key = format!("[[api.key]]\nname = 'a'\nsha256 = '{digest}'\nrights = ['read']");
    std::fs::write(&file, key).unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "check-config",
        "--dev-auth",
        "--admin",
        "0.0.0.0:0",
        "--config",
        file,
    ];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = command(&["print-config", "--config", file])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(
        printed.contains("api.key = [") && !printed.contains(&digest),
        "{printed}"
    );

    // The same for a program that brings its own listener.
    let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let server = Server::builder(dev()).build().unwrap();
    let ended = server.run_with_admin(public, Some(admin), pending()).await;
    assert!(matches!(ended, Err(RunError::AdminExposed(_))), "{ended:?}");
    let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let mut config = dev();
    let mut key = ApiKey::new("a", ApiSecret::Sha256([7; 32]));
    key.rights = vec![ApiRight::Read];
    config.api_keys = vec![key];
    let server = Server::builder(config).build().unwrap();
    let ended = server.run_with_admin(public, Some(admin), async {}).await;
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn one_address_has_its_share_of_places_and_others_have_theirs() {
    let server = Program::start(&[
        "--connections-per-address",
        "2",
        "--trusted-proxies",
        "127.0.0.0/8",
        "--trusted-proxies",
        "::1",
    ]);
    let address = server.public();
    let from =
        async |client: &str| Client::connect_through(&address, ("x-forwarded-for", client)).await;
    let first = from("203.0.113.9")
        .await
        .unwrap_or_else(|refused| panic!("the first: {refused:?}"));
    let _second = from("203.0.113.9")
        .await
        .unwrap_or_else(|refused| panic!("the second: {refused:?}"));
    let (status, body) = from("203.0.113.9").await.err().expect("refused");
    assert_eq!(status, 429, "{body}");
    // What it writes itself does not make it another one.
    let (status, _) = from("198.51.100.7, 203.0.113.9")
        .await
        .err()
        .expect("refused");
    assert_eq!(status, 429);
    let _other = from("203.0.113.10")
        .await
        .unwrap_or_else(|refused| panic!("another address: {refused:?}"));
    server.logged("connections_per_address").await;
    first.close().await;
    until("the place is freed", async || {
        from("203.0.113.9").await.ok()
    })
    .await;
}

#[tokio::test]
async fn headers_of_a_peer_that_is_no_trusted_proxy_are_not_believed() {
    let server = Program::start(&["--connections-per-address", "2"]);
    let address = server.public();
    let _two = (server.client("ana").await, server.client("bob").await);
    let (status, answer) = upgrade(&address).await;
    assert_eq!(status, 429);
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    let header = ("x-forwarded-for", "203.0.113.9");
    let client = Client::connect_through(&address, header).await;
    let (status, _) = client.err().expect("refused");
    assert_eq!(status, 429);
}

#[tokio::test]
async fn those_that_say_nothing_do_not_take_the_places_of_all() {
    let server = Program::start(&["--connections-unauthenticated-max", "2"]);
    let address = server.public();
    // Who is known does not count.
    let _known = (
        server.client("ana").await,
        server.client("bob").await,
        server.client("cem").await,
    );
    let silent = (
        Client::connect(&address, None)
            .await
            .unwrap_or_else(|refused| panic!("one: {refused:?}")),
        Client::connect(&address, None)
            .await
            .unwrap_or_else(|refused| panic!("two: {refused:?}")),
    );
    let (status, answer) = upgrade(&address).await;
    assert_eq!(status, 503);
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    let (one, two) = silent;
    assert_eq!(said(one, "dan").await.unwrap(), "dan");
    let connected = async || Client::connect(&address, None).await.ok();
    until("the place is freed", connected).await;
    drop(two);
}

/// What the server does with who talks too fast: it reads more slowly, and loses nothing.
#[tokio::test]
async fn a_rate_slows_one_connection_down_or_all_of_an_address() {
    let slow = [("PER_S", "50"), ("BURST", "10")];
    for whose in ["CONNECTION", "ADDRESS"] {
        let mut program = command(&["--dev-auth", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]);
        for (what, value) in slow {
            program.env(format!("TIDEWIRE_LIMITS_RATE_{whose}_{what}"), value);
        }
        let server = Program::spawn(program);
        let (mut ana, mut bob) = (server.client("ana").await, server.client("bob").await);
        let begun = Instant::now();
        for t in 0..30 {
            ana.send([ClientKind::Ping(Ping { t })]).await;
        }
        for t in 0..30 {
            let pong = ana.next().await;
            assert!(matches!(pong, ServerKind::Pong(pong) if pong.t == t));
        }
        // 31 frames with the hello: 21 beyond the burst are 400 ms.
        assert!(
            begun.elapsed() >= Duration::from_millis(300),
            "{whose}: {:?}",
            begun.elapsed()
        );
        for t in 0..2 {
            bob.send([ClientKind::Ping(Ping { t })]).await;
        }
        for _ in 0..2 {
            bob.next().await;
        }
        if whose == "ADDRESS" {
            // From the same budget: 22 beyond the burst, however late a busy machine lets bob speak.
            assert!(
                begun.elapsed() >= Duration::from_millis(430),
                "{:?}",
                begun.elapsed()
            );
        }
    }
    for (key, value, fix) in [
        ("limits.rate.connection.per_s", "-1", "from 0"),
        ("limits.rate.address.burst", "0", "from 1"),
        ("limits.rate.nobody.per_s", "1", "limits.rate.address.per_s"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.toml");
        std::fs::write(&file, format!("{key} = {value}")).unwrap();
        let output = run(&[
            "check-config",
            "--dev-auth",
            "--config",
            file.to_str().unwrap(),
        ]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{key}: {err}");
        for part in [key, value, fix] {
            assert!(err.contains(part), "{key}: {part:?} is not in {err}");
        }
    }
}

#[test]
fn addresses_that_mean_nothing_exit_2() {
    for (flag, value, key, fix) in [
        (
            "--trusted-proxies",
            "10.0.0.0/33",
            "trusted_proxies",
            "10.0.0.0/8",
        ),
        (
            "--trusted-proxies",
            "proxy",
            "trusted_proxies",
            "ADDRESS/BITS",
        ),
        (
            "--connections-per-address",
            "0",
            "connections_per_address",
            "from 1",
        ),
        ("--admin-hosts", "http://x", "admin_hosts", "without port"),
        ("--admin-hosts", "x:80", "admin_hosts", "without port"),
    ] {
        let output = run(&["check-config", "--dev-auth", flag, value]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}: {err}");
        for part in [key, value, fix] {
            assert!(
                err.contains(part),
                "{flag} {value}: {part:?} is not in {err}"
            );
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_names_the_file_also_when_it_is_found_late() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(
        &file,
        "[namespace.b.collections.cards]\nschema = 'missing.json'",
    )
    .unwrap();
    for command in ["check-config", "--listen=127.0.0.1:0"] {
        let output = run(&["--dev-auth", "--config", file.to_str().unwrap(), command]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            err.contains("server.toml)") && !err.contains("default"),
            "{err}"
        );
    }
    let output = run(&["check-config", "--dev-auth=false"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("dev_auth = false (flag --dev-auth)"), "{err}");
}

#[test]
fn a_rule_for_a_namespace_that_is_not_configured_is_refused_when_the_server_is_built() {
    let mut config = dev();
    let board = config.namespaces.remove("*").unwrap();
    config.namespaces.insert("board".into(), board);
    let error = Server::builder(config.clone())
        .validate("bord", |_, _, _| Ok(()))
        .initial("chat", |_| tidewire_server::Document::default())
        .build()
        .err()
        .expect("refused")
        .to_string();
    for part in [
        "validate",
        "\"bord\"",
        "initial",
        "\"chat\"",
        "known ones are board",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("default"), "{error}");
    let built = Server::builder(config)
        .validate("board", |_, _, _| Ok(()))
        .validate("*", |_, _, _| Ok(()))
        .build();
    assert!(built.is_ok());
    // Every namespace is configured by "*".
    let built = Server::builder(dev())
        .validate("list", |_, _, _| Ok(()))
        .build();
    assert!(built.is_ok());
}

#[tokio::test]
async fn liveness_tells_pages_that_may_connect_and_says_nothing_else() {
    let server = Program::start(&["--allow-origin", "https://app.example.com"]);
    let address = server.public();
    for (origin, told) in [
        ("https://app.example.com", true),
        ("http://localhost:5173", true),
        ("https://evil.example.com", false),
    ] {
        let request = format!(
            "GET /health/live?4711 HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        );
        let (status, answer) = exchange(&address, &request).await;
        let answer = answer.to_lowercase();
        assert_eq!(status, 200);
        assert!(answer.ends_with("\r\n\r\nlive"), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
        let allowed = format!("access-control-allow-origin: {origin}");
        assert_eq!(answer.contains(&allowed), told, "{answer}");
    }
}
