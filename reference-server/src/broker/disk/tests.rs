//! What only a disk can do: keep things, be locked, be killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidewire_core::wire::Ops;

use super::*;
use crate::broker::{Entry, EntryBody, Snapshot, StoredSnapshot};
use crate::log::Author;

pub(super) const RUN: RunId = RunId(0xfeed);

pub(super) fn channel() -> ChannelName {
    "board:main".parse().unwrap()
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(super) fn cursor(seq: u64) -> tidewire_core::wire::Cursor {
    match seq {
        0 => tidewire_core::wire::Cursor::default(),
        _ => tidewire_core::wire::Cursor::new(9, seq, seq * 7),
    }
}

pub(super) fn entry(seq: u64) -> Arc<Entry> {
    let body = match seq {
        1 => EntryBody::opening(Ops::default()),
        _ => EntryBody::mutation((Author([3; 16]), seq), 1, 0, Ok(Ops::default())),
    };
    Arc::new(Entry {
        cursor: cursor(seq),
        previous_tag: 0,
        ms: seq,
        run: RUN,
        body,
    })
}

pub(super) async fn append(broker: &DiskBroker, seq: u64) -> BrokerReply {
    let request = BrokerRequest::Append {
        expected: cursor(seq - 1),
        entries: vec![entry(seq)],
    };
    broker.request(&channel(), request).await
}

pub(super) async fn load(
    broker: &DiskBroker,
) -> (Option<Arc<StoredSnapshot>>, Vec<Arc<Entry>>, RunId) {
    match broker.request(&channel(), BrokerRequest::Load).await {
        BrokerReply::Loaded {
            snapshot,
            entries,
            more: false,
            run,
            ..
        } => (snapshot, entries, run),
        other => panic!("{other:?}"),
    }
}

/// Puts every part, then the snapshot, trimming up to before it; tells how far that came.
pub(super) async fn put_snapshot(broker: &DiskBroker, snapshot: &StoredSnapshot) -> bool {
    let cursor = snapshot.name.cursor;
    for (part, bytes) in (0..).zip(snapshot.parts.iter().cloned()) {
        let request = BrokerRequest::PutPart {
            cursor,
            part,
            bytes,
        };
        if !matches!(
            broker.request(&channel(), request).await,
            BrokerReply::PartStored
        ) {
            return false;
        }
    }
    let request = BrokerRequest::PutSnapshot {
        snapshot: snapshot.name,
        trim_through: cursor.seq - 1,
    };
    let reply = broker.request(&channel(), request).await;
    matches!(reply, BrokerReply::SnapshotStored)
}

#[test]
fn so_many_channels_are_kept_and_those_that_are_there_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let other: ChannelName = "board:other".parse().unwrap();
    for _ in 0..2 {
        // Also those that an earlier run has kept count.
        let broker = DiskBroker::open(dir.path(), RUN).unwrap();
        let broker = broker.with_channels_max(1);
        if broker.has_room(&other) {
            let appended = block_on(append(&broker, 1));
            assert!(matches!(appended, BrokerReply::Appended));
        }
        assert!(broker.has_room(&channel()));
        assert!(!broker.has_room(&other));
        // Nor does one that was promised a place a moment ago.
        let begin = BrokerRequest::Append {
            expected: cursor(0),
            entries: vec![entry(1)],
        };
        match block_on(broker.request(&other, begin)) {
            BrokerReply::Failed { detail } => assert!(detail.contains("disk_channels_max")),
            other => panic!("{other:?}"),
        }
        assert!(!broker.has_room(&other));
    }
}

#[test]
fn a_restart_keeps_entries_snapshot_and_run_id() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = Snapshot {
        cursor: cursor(2),
        ms: 2,
        ..Snapshot::default()
    };
    let snapshot = Arc::new(StoredSnapshot::encode(snapshot, 1));
    block_on(async {
        let broker = DiskBroker::open(dir.path(), RUN).unwrap();
        for seq in 1..=3 {
            assert!(matches!(append(&broker, seq).await, BrokerReply::Appended));
        }
        put_snapshot(&broker, &snapshot).await;
    });
    block_on(async {
        // Another run id is offered, and not taken.
        let broker = DiskBroker::open(dir.path(), RunId(1)).unwrap();
        assert_eq!(broker.run_id(), RUN);
        let loaded = load(&broker).await;
        assert_eq!(loaded, (Some(snapshot), vec![entry(2), entry(3)], RUN));
        assert!(matches!(append(&broker, 3).await, BrokerReply::Conflict));
        assert!(matches!(append(&broker, 4).await, BrokerReply::Appended));
    });
}

#[test]
fn what_was_answered_is_in_the_file_before_the_broker_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    block_on(async {
        let broker = DiskBroker::open(dir.path(), RUN).unwrap();
        for seq in 1..=3 {
            append(&broker, seq).await;
        }
        // The file as a dead process would leave it.
        std::fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
    });
    block_on(async {
        let broker = DiskBroker::open(copy.path(), RunId(1)).unwrap();
        let (_, entries, run) = load(&broker).await;
        assert_eq!(entries, [entry(1), entry(2), entry(3)]);
        assert_eq!(run, RUN);
    });
}

#[test]
fn a_second_server_on_a_directory_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = DiskBroker::open(dir.path(), RUN).unwrap();
    let error = DiskBroker::open(dir.path(), RUN).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("in use by another server"));
    drop(first);
    DiskBroker::open(dir.path(), RUN).unwrap();
}

#[test]
fn a_directory_that_is_none_and_a_file_that_is_no_database_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = DiskBroker::open(&file, RUN).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");

    std::fs::write(dir.path().join(FILE), "this is not a database".repeat(1000)).unwrap();
    let error = DiskBroker::open(dir.path(), RUN).unwrap_err();
    assert!(
        matches!(error, OpenError::Database { .. } | OpenError::Io { .. }),
        "{error:?}"
    );
}

#[test]
fn a_directory_of_another_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(DiskBroker::open(dir.path(), RUN).unwrap());
    store::set_format(&dir.path().join(FILE), 99);
    let error = DiskBroker::open(dir.path(), RUN).unwrap_err();
    assert!(
        matches!(error, OpenError::Format { found: 99, .. }),
        "{error:?}"
    );
}

#[test]
fn a_full_queue_refuses_and_everything_else_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let bounds = DiskBounds {
            writes: 20,
            ..DiskBounds::default()
        };
        let broker = DiskBroker::open_with(dir.path(), RUN, bounds).unwrap();
        let answers: Vec<Answer<BrokerReply>> = (0..400)
            .map(|n| {
                let request = BrokerRequest::Append {
                    expected: cursor(0),
                    entries: vec![entry(1)],
                };
                let channel = format!("board:c{n}").parse().unwrap();
                broker.request(&channel, request)
            })
            .collect();
        let (mut appended, mut refused) = (0, 0);
        for answer in answers {
            match answer.await {
                BrokerReply::Appended => appended += 1,
                BrokerReply::Failed { .. } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!((20..400).contains(&appended), "{appended}");
        assert_eq!(appended + refused, 400);
    });
}

/// Runs itself as a child that appends for ever and says what was answered, and kills it.
#[test]
fn answered_appends_survive_kill_9() {
    const DIR: &str = "TIDEWIRE_TEST_KILLED_DIR";
    if let Some(dir) = std::env::var_os(DIR) {
        block_on(async {
            let broker = DiskBroker::open(dir.as_ref(), RUN).unwrap();
            let mut seq = load(&broker).await.1.len() as u64;
            loop {
                seq += 1;
                assert!(matches!(append(&broker, seq).await, BrokerReply::Appended));
                println!("answered {seq}");
            }
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("broker::disk::tests::answered_appends_survive_kill_9")
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = answered + 10 + 3 * round;
        let deadline = Instant::now() + Duration::from_secs(60);
        while answered < until {
            assert!(Instant::now() < deadline, "the child does not append");
            let line = lines.next().unwrap().unwrap();
            if let Some(seq) = line.strip_prefix("answered ") {
                answered = seq.parse().unwrap();
            }
        }
        // On Unix this is SIGKILL; the child is in the middle of the next append.
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(seq) = line.strip_prefix("answered ") {
                answered = seq.parse().unwrap();
            }
        }
        block_on(async {
            let broker = DiskBroker::open(dir.path(), RunId(1)).unwrap();
            let (_, entries, run) = load(&broker).await;
            let kept = entries.len() as u64;
            // One more may have been written than was told.
            assert!(
                (answered..=answered + 1).contains(&kept),
                "{answered} {kept}"
            );
            assert_eq!(run, RUN);
            assert!(entries.iter().zip(1..).all(|(e, seq)| **e == *entry(seq)));
        });
    }
}

/// A broker with so many entries, closed.
fn filled(dir: &Path, entries: std::ops::RangeInclusive<u64>) {
    block_on(async {
        let broker = DiskBroker::open(dir, RUN).unwrap();
        for seq in entries {
            assert!(matches!(append(&broker, seq).await, BrokerReply::Appended));
        }
    });
}

#[test]
fn a_database_that_was_put_back_alone_takes_a_new_run_id() {
    let dir = tempfile::tempdir().unwrap();
    let backup = tempfile::tempdir().unwrap();
    let (file, copy) = (dir.path().join(FILE), backup.path().join(FILE));
    filled(dir.path(), 1..=3);
    std::fs::copy(&file, &copy).unwrap();
    // Opened again without a loss, it stays what it is.
    filled(dir.path(), 4..=6);
    let broker = DiskBroker::open(dir.path(), RunId(1)).unwrap();
    assert_eq!(broker.run_id(), RUN);
    drop(broker);
    std::fs::copy(&copy, &file).unwrap();
    for _ in 0..2 {
        // Once: then the mark is of the new life.
        let broker = DiskBroker::open(dir.path(), RunId(2)).unwrap();
        assert_eq!(broker.run_id(), RunId(2));
        block_on(async { assert_eq!(load(&broker).await.1.len(), 3) });
    }
    // Once more: an older life is put back, which has even had more transactions than the mark says.
    std::fs::copy(&copy, &file).unwrap();
    let broker = DiskBroker::open(dir.path(), RunId(3)).unwrap();
    assert_eq!(broker.run_id(), RunId(3));
}

#[test]
fn a_mark_that_is_absent_or_torn_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1..=3);
    let mark = dir.path().join("tidewire.mark");
    assert!(Mark::read(dir.path()).is_some());
    for torn in [&b""[..], b"short", &[0xff; 24]] {
        std::fs::write(&mark, torn).unwrap();
        assert_eq!(Mark::read(dir.path()), None);
        let broker = DiskBroker::open(dir.path(), RunId(1)).unwrap();
        assert_eq!(broker.run_id(), RUN);
    }
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(
        DiskBroker::open(dir.path(), RunId(1)).unwrap().run_id(),
        RUN
    );
}

#[test]
fn a_restored_directory_has_a_new_run_id_and_its_logs() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 1..=3);
    let copy = tempfile::tempdir().unwrap();
    for file in [FILE, "tidewire.mark"] {
        std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    assert_eq!(DiskBroker::restore(copy.path(), RunId(9)).unwrap(), RUN);
    let broker = DiskBroker::open(copy.path(), RunId(10)).unwrap();
    assert_eq!(broker.run_id(), RunId(9));
    block_on(async { assert_eq!(load(&broker).await.1.len(), 3) });
    assert!(matches!(
        DiskBroker::restore(copy.path(), RunId(11)),
        Err(OpenError::Locked { .. })
    ));
    let nothing = copy.path().join("typo");
    assert!(matches!(
        DiskBroker::restore(&nothing, RunId(12)),
        Err(OpenError::Io { .. })
    ));
    assert!(!nothing.exists());
}
