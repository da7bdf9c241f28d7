//! A disk that is full, or fails in another way, while a broker runs on it.

use std::time::Instant;

use super::crash_tests::{Disk, fill, open};
use super::tests::{RUN, append, block_on, channel, cursor, entry, load, put_snapshot};
use super::*;
use crate::broker::{Entry, EntryBody, Snapshot, StoredSnapshot};
use crate::log::Author;
use tidewire_core::document::put_op;
use tidewire_core::wire::{Field, Ops, Record};

const DEADLINE: Duration = Duration::from_secs(30);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An entry with so many bytes in it.
fn large(seq: u64, bytes: usize) -> Arc<Entry> {
    let value = format!("\"{}\"", "x".repeat(bytes));
    let record = Record {
        collection: "cards".into(),
        id: "1".into(),
        fields: vec![Field {
            name: "title".into(),
            value: value.into(),
            ..Field::default()
        }],
        ..Record::default()
    };
    let ops = Ops::new(&[put_op(record)]);
    let mut entry = (*entry(seq)).clone();
    entry.body = EntryBody::mutation((Author([3; 16]), seq), 1, 0, Ok(ops));
    Arc::new(entry)
}

async fn append_large(broker: &DiskBroker, seq: u64, bytes: usize) -> BrokerReply {
    let request = BrokerRequest::Append {
        expected: cursor(seq - 1),
        // The first one opens the log.
        entries: vec![if seq == 1 {
            entry(1)
        } else {
            large(seq, bytes)
        }],
    };
    broker.request(&channel(), request).await
}

#[test]
fn a_full_disk_is_waited_for_wherever_it_begins() {
    let disk = Disk::new(Vec::new(), usize::MAX);
    block_on(async {
        let broker = open(&disk).unwrap();
        assert_eq!(fill(&broker, 1, 5).await, 5);
    });
    let start = disk.after_the_process_died();
    let mut waited = 0;
    // What is in the middle of the file can be written over in every case.
    for room in (start.len() / 4..start.len() + 64 * 1024).step_by(start.len() / 12) {
        let disk = Disk::new(start.clone(), usize::MAX);
        let Some(broker) = open(&disk) else { continue };
        disk.set_room(room);
        block_on(async {
            let answered = fill(&broker, 6, 400).await;
            if answered == 405 {
                return;
            }
            waited += 1;
            assert!(matches!(broker.room(), Room::Broken(why) if why.contains("full")));
            assert!(broker.health().await.unwrap_err().detail.contains("full"));
            // Nothing new begins, and nothing is written.
            assert!(!broker.has_room(&"board:new".parse().unwrap()));
            let reply = append(&broker, answered + 1).await;
            assert!(matches!(reply, BrokerReply::Failed { .. }), "{reply:?}");
            disk.set_room(usize::MAX);
            until("it goes on", || broker.room() == Room::Free).await;
            let (_, entries, run) = load(&broker).await;
            let kept = entries.len() as u64;
            assert!(
                (answered..=answered + 1).contains(&kept),
                "{answered} {kept}"
            );
            assert_eq!(run, RUN);
            assert!(entries.iter().zip(1..).all(|(e, seq)| **e == *entry(seq)));
            assert_eq!(fill(&broker, kept + 1, 20).await, kept + 20);
        });
    }
    assert!(waited > 5, "{waited}");
}

#[test]
fn what_a_full_disk_holds_is_read() {
    let disk = Disk::new(Vec::new(), usize::MAX);
    let broker = open(&disk).unwrap();
    block_on(async {
        assert_eq!(fill(&broker, 1, 5).await, 5);
        disk.set_room(disk.len());
        let mut seq = 5;
        while matches!(
            append_large(&broker, seq + 1, 100_000).await,
            BrokerReply::Appended
        ) {
            seq += 1;
        }
        assert!(matches!(broker.room(), Room::Broken(_)));
        assert!(broker.has_room(&channel()));
        let read = BrokerRequest::Read { after: 3 };
        match broker.request(&channel(), read).await {
            BrokerReply::Entries { entries, .. } => assert_eq!(entries[0], entry(4)),
            other => panic!("{other:?}"),
        }
        // Less room than what failed needs is not enough, and nobody is told that it were.
        disk.set_room(disk.len() + 1000);
        let refusals = disk.refusals();
        until("it has looked again twice", || {
            disk.refusals() > refusals + 1
        })
        .await;
        assert!(matches!(broker.room(), Room::Broken(_)));
        disk.set_room(usize::MAX);
        until("it goes on", || broker.room() == Room::Free).await;
        assert!(matches!(
            append_large(&broker, seq + 1, 100_000).await,
            BrokerReply::Appended
        ));
    });
}

#[test]
fn a_failed_sync_and_a_failed_disk_are_not_mended() {
    for sync in [true, false] {
        let disk = Disk::new(Vec::new(), usize::MAX);
        let broker = open(&disk).unwrap();
        block_on(async {
            assert_eq!(fill(&broker, 1, 5).await, 5);
            match sync {
                // Even if it says that there was no room.
                true => disk.fail_syncs(true),
                false => disk.fail_all(),
            }
            assert!(matches!(
                append(&broker, 6).await,
                BrokerReply::Failed { .. }
            ));
            assert!(matches!(broker.room(), Room::Broken(why) if why.contains("failed")));
            disk.fail_syncs(false);
            for _ in 0..3 {
                assert!(matches!(
                    append(&broker, 6).await,
                    BrokerReply::Failed { .. }
                ));
            }
            assert!(matches!(broker.room(), Room::Broken(why) if why.contains("failed")));
        });
    }
}

/// What the tables hold, counted anew.
fn recounted(disk: &Arc<Disk>) -> u64 {
    let disk = Disk::new(disk.after_the_process_died(), usize::MAX);
    store::recount(&*Arc::new(super::crash_tests::Handle(disk)))
}

fn snapshot_of(seq: u64, rows: u8) -> StoredSnapshot {
    let row = |author| (Author([author; 16]), crate::log::TableRow::default());
    let snapshot = Snapshot {
        cursor: cursor(seq),
        ms: seq,
        table: (0..rows).map(row).collect(),
        ..Snapshot::default()
    };
    StoredSnapshot::encode(snapshot, 40)
}

#[test]
fn bytes_are_counted_as_they_come_and_go() {
    let disk = Disk::new(Vec::new(), usize::MAX);
    let broker = open(&disk).unwrap();
    block_on(async {
        for seq in 1..=30 {
            assert!(matches!(
                append_large(&broker, seq, 100 * seq as usize).await,
                BrokerReply::Appended
            ));
        }
        assert_eq!(broker.stored_bytes().unwrap(), recounted(&disk));
        let full = broker.stored_bytes().unwrap();
        // A part that is put again, a snapshot that is never put, one that is, and the next one.
        for (seq, rows) in [(10, 9), (10, 9), (20, 3)] {
            let begun = BrokerRequest::PutPart {
                cursor: cursor(seq + 1),
                part: 0,
                bytes: vec![0; 500].into(),
            };
            broker.request(&channel(), begun.clone()).await;
            broker.request(&channel(), begun).await;
            assert_eq!(broker.stored_bytes().unwrap(), recounted(&disk));
            put_snapshot(&broker, &snapshot_of(seq, rows)).await;
            assert_eq!(broker.stored_bytes().unwrap(), recounted(&disk));
        }
        assert!(broker.stored_bytes().unwrap() < full);
        // They are found again.
        let bytes = broker.stored_bytes();
        drop(broker);
        assert_eq!(open(&disk).unwrap().stored_bytes(), bytes);
    });
}

#[test]
fn at_the_limit_appends_wait_and_what_makes_room_is_taken() {
    let disk = Disk::new(Vec::new(), usize::MAX);
    let broker = open(&disk).unwrap().with_bytes_max(20_000);
    block_on(async {
        let mut seq = 0;
        while broker.room() == Room::Free {
            seq += 1;
            assert!(matches!(
                append_large(&broker, seq, 1000).await,
                BrokerReply::Appended
            ));
        }
        assert_eq!(broker.room(), Room::Limit);
        assert!(seq < 25, "{seq}");
        match append_large(&broker, seq + 1, 10).await {
            BrokerReply::Failed { detail } => {
                assert!(detail.contains("disk_bytes_max"), "{detail}")
            }
            other => panic!("{other:?}"),
        }
        // Who is behind is told so, also now.
        let other = append_large(&broker, seq - 1, 10).await;
        assert!(matches!(other, BrokerReply::Conflict));
        assert!(broker.has_room(&channel()) && !broker.has_room(&"board:new".parse().unwrap()));
        // A channel that was opened is opened again, as nobody could read it otherwise; a new one is not.
        let opening = |seq| {
            let mut opening = (*entry(seq)).clone();
            opening.cursor.epoch += 1;
            opening.body = EntryBody::opening(Ops::default());
            Arc::new(opening)
        };
        let open_again = BrokerRequest::Append {
            expected: cursor(seq),
            entries: vec![opening(seq + 1)],
        };
        let reply = broker.request(&channel(), open_again).await;
        assert!(matches!(reply, BrokerReply::Appended), "{reply:?}");
        let begin = BrokerRequest::Append {
            expected: cursor(0),
            entries: vec![entry(1)],
        };
        let reply = broker.request(&"board:new".parse().unwrap(), begin).await;
        assert!(matches!(reply, BrokerReply::Failed { .. }), "{reply:?}");
        assert_eq!(broker.room(), Room::Limit);
        put_snapshot(&broker, &snapshot_of(seq, 2)).await;
        assert_eq!(broker.room(), Room::Free);
    });
}

/// What operators are told about the size of the file beside `disk_bytes_max`.
#[test]
fn the_file_is_a_few_times_what_is_stored() {
    for bytes in [100, 5000] {
        let disk = Disk::new(Vec::new(), usize::MAX);
        let broker = open(&disk).unwrap();
        let most = block_on(async {
            let mut most = 0;
            append(&broker, 1).await;
            for turn in 0..40 {
                let first = 2 + turn * 100;
                let entries = (first..first + 100).map(|seq| large(seq, bytes)).collect();
                let request = BrokerRequest::Append {
                    expected: cursor(first - 1),
                    entries,
                };
                let reply = broker.request(&channel(), request).await;
                assert!(matches!(reply, BrokerReply::Appended));
                most = most.max(broker.stored_bytes().unwrap());
                if turn % 10 == 9 {
                    put_snapshot(&broker, &snapshot_of(first + 99, 3)).await;
                }
            }
            most
        });
        let times = disk.len() as f64 / most as f64;
        // 1.4 to 1.9 were seen.
        assert!(times < 4.0, "{bytes}: {times}");
    }
}
