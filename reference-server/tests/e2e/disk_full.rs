//! A disk that is full, and one that holds as much as the settings allow.

use std::path::Path;
use std::time::{Duration, Instant};

use tidewire_core::wire::{ErrorCode, ServerKind};

use crate::support::{Client, Program, card, http, push, push_until_held, put, subscribe, until};

const ROOM: &str = "board:main";

/// What `/health/ready` says.
async fn readiness(server: &Program) -> (u16, String) {
    http(&server.public(), "GET", "/health/ready", "").await
}

/// Waits until the server is ready again; how long that took.
async fn until_ready(server: &Program) -> Duration {
    let begun = Instant::now();
    let is_ready = async || (readiness(server).await.0 == 200).then_some(());
    until("the server is ready", is_ready).await;
    begun.elapsed()
}

/// Whether a push is taken; if not, with what code it is held.
async fn is_taken(client: &mut Client, room: &str, epoch: u64, n: u64) -> Result<(), u32> {
    let small = card(&n.to_string(), "small");
    client.send([push(room, epoch, n, vec![put(small)])]).await;
    client
        .find(|frame| match frame {
            ServerKind::Ack(_) => Some(Ok(())),
            ServerKind::Hold(hold) => Some(Err(hold.code)),
            _ => None,
        })
        .await
}

async fn until_taken(client: &mut Client, room: &str, epoch: u64, n: u64) {
    let taken = async || is_taken(client, room, epoch, n).await.ok();
    until("the push is taken", taken).await;
}

/// Why a subscribe is refused.
async fn refusal(client: &mut Client, room: &str) -> u32 {
    client.send([subscribe(room, None)]).await;
    client
        .find(|frame| match frame {
            ServerKind::Error(error) if !error.fatal => Some(error.code),
            _ => None,
        })
        .await
}

/// The way of one server through a disk that is full; `make_room` does what an operator would.
#[cfg(target_os = "linux")]
async fn is_mended(server: &Program, make_room: impl FnOnce()) {
    let overloaded = ErrorCode::Overloaded as u32;
    let mut ana = server.client("ana").await;
    let start = ana.subscribe(ROOM).await;
    let epoch = start.cursor.epoch;
    let (code, acked) = push_until_held(&mut ana, ROOM, epoch).await;
    assert_eq!(code, overloaded);
    let (status, body) = readiness(server).await;
    assert_eq!(status, 503);
    assert!(body.contains("disk is full"), "{body}");
    assert_eq!(
        http(&server.public(), "GET", "/health/live", "").await.0,
        200
    );
    server.logged("the disk is full").await;

    // What is there is served, and says what was acked.
    let mut ben = server.client("ben").await;
    ben.document(ROOM, start.cursor.seq + acked).await;
    assert_eq!(refusal(&mut ben, "board:new").await, overloaded);
    assert_eq!(
        is_taken(&mut ana, ROOM, epoch, acked + 1).await,
        Err(overloaded)
    );

    make_room();
    let took = until_ready(server).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    until_taken(&mut ana, ROOM, epoch, acked + 1).await;
    // The same log goes on: nothing was lost, and nobody is told that it were.
    let again = ben.subscribe("board:new").await;
    assert_eq!(again.cursor.seq, 1);
    let mut cem = server.client("cem").await;
    let seen = cem.subscribe(ROOM).await;
    assert_eq!(seen.cursor.epoch, epoch);
    let mut dan = server.client("dan").await;
    let document = dan.document(ROOM, start.cursor.seq + acked + 1).await;
    assert_eq!(document.len() as u64, acked + 1);
}

const ARGS: [&str; 4] = [
    "--dev-auth",
    "--listen=127.0.0.1:0",
    "--admin=127.0.0.1:0",
    "--broker=disk",
];

/// A file system of its own, which only the server sees and which ends with it. `None`: this process may
/// not mount one.
#[cfg(target_os = "linux")]
fn on_a_small_file_system(mount: &Path) -> Option<Program> {
    use std::process::Command;
    // As root, or as root of a user namespace.
    let ways: [&[&str]; 2] = [&["-m"], &["-U", "-r", "-m"]];
    let way = ways.into_iter().find(|way| {
        let tried = Command::new("unshare").args(*way).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    })?;
    let script = "mount -t tmpfs -o size=12m tmpfs \"$0\" && cd \"$0\" \
        && head -c 6291456 /dev/zero > ballast && exec \"$@\"";
    let mut command = crate::support::command_by("unshare");
    command.args(way).args(["sh", "-c", script]).arg(mount);
    command.arg(crate::support::PROGRAM).args(ARGS);
    command.arg("--data-dir").arg(mount.join("data"));
    Some(Program::spawn(command))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_file_system_is_told_and_mends_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = on_a_small_file_system(dir.path()) else {
        // Not everybody may mount: then the file's own limit does it, as in the next test.
        return files_that_may_not_grow(dir.path()).await;
    };
    let inside = format!("/proc/{}/root", server.id());
    let ballast = Path::new(&inside).join(dir.path().join("ballast").strip_prefix("/").unwrap());
    is_mended(&server, || std::fs::remove_file(ballast).unwrap()).await;
}

/// The same without a file system of its own: no file may become larger than this.
#[cfg(target_os = "linux")]
async fn files_that_may_not_grow(dir: &Path) {
    // Shells count in blocks of 512 or 1,024 bytes.
    let script = "trap '' XFSZ; ulimit -S -f 6000; exec \"$@\"";
    let mut command = crate::support::command_by("sh");
    command.args(["-c", script, "sh", crate::support::PROGRAM]);
    command.args(ARGS).arg("--data-dir").arg(dir.join("data"));
    let server = Program::spawn(command);
    let pid = server.id().to_string();
    let make_room = || {
        let mut prlimit = std::process::Command::new("prlimit");
        let raised = prlimit.args(["--pid", &pid, "--fsize=unlimited:"]).status();
        assert!(raised.unwrap().success());
    };
    is_mended(&server, make_room).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_may_not_grow_is_told_and_mends_itself() {
    let dir = tempfile::tempdir().unwrap();
    files_that_may_not_grow(dir.path()).await;
}

#[tokio::test]
async fn at_disk_bytes_max_pushes_wait_the_server_is_ready_and_a_deletion_makes_room() {
    let overloaded = ErrorCode::Overloaded as u32;
    let dir = tempfile::tempdir().unwrap();
    let server = Program::start(&[
        "--broker=disk",
        "--disk-bytes-max=300000",
        "--data-dir",
        dir.path().to_str().unwrap(),
    ]);
    let mut ana = server.client("ana").await;
    let other = ana.subscribe("board:other").await.cursor.epoch;
    let start = ana.subscribe(ROOM).await;
    let (code, acked) = push_until_held(&mut ana, ROOM, start.cursor.epoch).await;
    assert_eq!(code, overloaded);
    assert!((25..32).contains(&acked), "{acked} pushes of 10 kB fit");
    assert_eq!(readiness(&server).await.0, 200);
    assert_eq!(
        is_taken(&mut ana, "board:other", other, 1).await,
        Err(overloaded)
    );
    assert_eq!(refusal(&mut ana, "board:new").await, overloaded);
    let metrics = http(&server.admin(), "GET", "/metrics", "").await.1;
    assert!(
        metrics.contains("tidewire_disk_bytes_max 300000"),
        "{metrics}"
    );

    let deleted = http(&server.admin(), "DELETE", "/channels/board:main", "").await;
    assert_eq!(deleted.0, 200, "{}", deleted.1);
    until_taken(&mut ana, "board:other", other, 1).await;
    assert_eq!(ana.subscribe("board:new").await.cursor.seq, 1);
}
