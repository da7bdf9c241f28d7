//! The program and its control door.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("in time")
}

fn program(args: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidewire-chaos-proxy"));
    program.args(args).kill_on_drop(true);
    program
}

/// A running program, where it listens, and its door.
async fn start(args: &[&str]) -> (Child, String, String) {
    let args = [&["--control", "127.0.0.1:0"], args].concat();
    let mut child = program(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async |prefix: &str| {
        let line = soon(lines.next_line()).await.unwrap().expect("it runs");
        line.strip_prefix(prefix).expect("printed").to_owned()
    };
    let listens = line("listening ").await;
    let door = line("control http://").await;
    (child, listens, door)
}

async fn ask(door: &str, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(door).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {door}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn the_door_switches_what_flags_began_with() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = server.local_addr().unwrap().to_string();
    let args = [
        "--to",
        &to,
        "--seed",
        "9",
        "--both",
        r#"{"slow_close_ms":5}"#,
        "--upstream",
        r#"{"black_hole":true}"#,
    ];
    let (_child, listens, door) = start(&args).await;
    let mut client = TcpStream::connect(&listens).await.unwrap();
    let (mut served, _) = soon(server.accept()).await.unwrap();
    client.write_all(b"held").await.unwrap();
    let (status, shown) = ask(&door, "GET", "/", "", "").await;
    assert_eq!(status, 200);
    for part in [
        r#""seed": 9"#,
        r#""black_hole": true"#,
        r#""slow_close_ms": 5"#,
        r#""open": 1"#,
        r#""upstream_bytes": 0"#,
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(
        ask(&door, "PUT", "/upstream", "", "{}").await,
        (200, "upstream set\n".into())
    );
    let mut read = [0; 4];
    soon(served.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"held");
    let (status, text) = ask(&door, "POST", "/reset", "", "").await;
    assert_eq!(
        (status, text.as_str()),
        (200, "reset: 1 connections were open\n")
    );
    let error = soon(client.read_u8()).await.expect_err("it was reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_door_says_what_is_wrong_and_changes_nothing() {
    let (_child, _, door) = start(&["--to", "127.0.0.1:9"]).await;
    let (_, before) = ask(&door, "GET", "/", "", "").await;
    let large = "x".repeat(20_000);
    for (method, path, more, body, status, says) in [
        (
            "PUT",
            "/both",
            "",
            r#"{"bandwidth_bytes_per_s":0}"#,
            400,
            "bad_bandwidth",
        ),
        ("PUT", "/both", "", r#"{"latency":1}"#, 400, "unknown field"),
        ("PUT", "/both", "", "", 400, "EOF"),
        ("PUT", "/both", "", &large, 413, ""),
        ("PUT", "/sideways", "", "{}", 404, "/upstream"),
        ("POST", "/explode", "", "", 404, "/reset"),
        (
            "POST",
            "/reset",
            "Origin: http://localhost\r\n",
            "",
            403,
            "web pages",
        ),
        ("DELETE", "/both", "", "", 405, ""),
    ] {
        let (found, text) = ask(&door, method, path, more, body).await;
        assert_eq!(found, status, "{method} {path}: {text}");
        assert!(text.contains(says), "{method} {path}: {text}");
    }
    assert_eq!(ask(&door, "GET", "/", "", "").await.1, before);
}

#[tokio::test]
async fn wrong_flags_end_it_with_a_line_that_says_what_to_do() {
    for (args, says) in [
        (
            &["--to", "127.0.0.1:9", "--both", r#"{"toxicity":2}"#][..],
            "bad_toxicity",
        ),
        (&["--to", "localhost"], "HOST:PORT"),
        (&[], "--to"),
    ] {
        let output = soon(program(args).output()).await.unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(says), "{told}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = soon(program(&["--to", "127.0.0.1:9", "--listen", &address]).output())
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another address"));
}
