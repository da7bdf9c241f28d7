//! What every broker has to do, run against each of them.

use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{Cursor, Ops, Record};

use super::{
    Broker, BrokerReply, BrokerRequest, DiskBroker, Entry, EntryBody, MemoryBroker, RunId,
    Snapshot, SnapshotName, StoredSnapshot, TableRow,
};
use crate::log::{Author, PART_ENTRIES_MAX};

/// Runs every check against a broker that `make` opens anew. The second argument of a check opens
/// the same data again after the first one is closed; `None` when the broker keeps nothing.
fn for_every_broker(check: impl AsyncFn(&dyn Broker)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(check(&MemoryBroker::new(RunId(1))));
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(check(&DiskBroker::open(dir.path(), RunId(1)).unwrap()));
}

fn channel() -> ChannelName {
    "board:main".parse().unwrap()
}

fn entry(epoch: u64, seq: u64, run: u64, body: EntryBody) -> Arc<Entry> {
    Arc::new(Entry {
        // Brokers compare tags, they do not compute them.
        cursor: Cursor::new(epoch, seq, epoch * 1000 + seq),
        previous_tag: 0,
        ms: seq,
        run: RunId(run),
        body,
    })
}

fn opening(epoch: u64, seq: u64) -> Arc<Entry> {
    entry(epoch, seq, 1, EntryBody::opening(Ops::default()))
}

fn mutation(epoch: u64, seq: u64) -> Arc<Entry> {
    let record = Record {
        collection: "c".into(),
        id: format!("r{seq}"),
        fields: Vec::new(),
        ..Record::default()
    };
    let outcome = Ok(Ops::new([&put_op(record)]));
    let body = EntryBody::mutation((Author([1; 16]), seq), 1, 1, outcome);
    entry(epoch, seq, 1, body)
}

fn snapshot(cursor: Cursor) -> Snapshot {
    let mut document = Document::default();
    document.apply(&put_op(Record {
        collection: "c".into(),
        id: "x".into(),
        fields: Vec::new(),
        ..Record::default()
    }));
    let row = TableRow {
        last: 4,
        deadline_max: 9,
        ..TableRow::default()
    };
    Snapshot {
        cursor,
        ms: 5,
        document: document.into(),
        table: vec![(Author([2; 16]), row)],
        ..Snapshot::default()
    }
}

async fn append(broker: &dyn Broker, expected: Cursor, entries: &[Arc<Entry>]) -> bool {
    let request = BrokerRequest::Append {
        expected,
        entries: entries.to_vec(),
    };
    match broker.request(&channel(), request).await {
        BrokerReply::Appended => true,
        BrokerReply::Conflict => false,
        other => panic!("{other:?}"),
    }
}

async fn load(broker: &dyn Broker) -> (Option<Snapshot>, Vec<Arc<Entry>>, RunId) {
    match broker.request(&channel(), BrokerRequest::Load).await {
        BrokerReply::Loaded {
            snapshot,
            entries,
            more: false,
            run,
            ..
        } => (snapshot.map(|s| s.read().unwrap()), entries, run),
        other => panic!("{other:?}"),
    }
}

/// `None`: trimmed.
async fn read(broker: &dyn Broker, after: u64) -> Option<Vec<Arc<Entry>>> {
    match broker
        .request(&channel(), BrokerRequest::Read { after })
        .await
    {
        BrokerReply::Entries { entries, .. } => Some(entries),
        BrokerReply::Trimmed => None,
        other => panic!("{other:?}"),
    }
}

/// Puts parts one by one, then the snapshot.
async fn put_snapshot(broker: &dyn Broker, snapshot: Snapshot, trim_through: u64) {
    let stored = StoredSnapshot::encode(snapshot, 1);
    put_parts(broker, &stored).await;
    let reply = commit(broker, stored.name, trim_through).await;
    assert!(matches!(reply, BrokerReply::SnapshotStored), "{reply:?}");
}

async fn put_parts(broker: &dyn Broker, stored: &StoredSnapshot) {
    for (part, bytes) in (0..).zip(&stored.parts) {
        let request = BrokerRequest::PutPart {
            cursor: stored.name.cursor,
            part,
            bytes: bytes.clone(),
        };
        let reply = broker.request(&channel(), request).await;
        assert!(matches!(reply, BrokerReply::PartStored), "{reply:?}");
    }
}

async fn commit(broker: &dyn Broker, snapshot: SnapshotName, trim_through: u64) -> BrokerReply {
    let request = BrokerRequest::PutSnapshot {
        snapshot,
        trim_through,
    };
    broker.request(&channel(), request).await
}

/// A log with an opening and two mutations; its head is `(7, 3)`.
async fn three(broker: &dyn Broker) -> Vec<Arc<Entry>> {
    let entries = vec![opening(7, 1), mutation(7, 2), mutation(7, 3)];
    assert!(append(broker, Cursor::default(), &entries).await);
    entries
}

#[test]
fn an_unused_channel_is_empty() {
    for_every_broker(async |broker| {
        assert_eq!(load(broker).await, (None, Vec::new(), RunId(1)));
        assert_eq!(broker.run_id(), RunId(1));
        assert_eq!(read(broker, 0).await, Some(Vec::new()));
    });
}

#[test]
fn what_was_appended_is_read_in_order() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        assert_eq!(load(broker).await.1, entries);
        assert_eq!(read(broker, 1).await.unwrap(), entries[1..]);
        assert_eq!(read(broker, 3).await, Some(Vec::new()));
    });
}

#[test]
fn a_long_log_comes_in_parts_that_follow_each_other() {
    for_every_broker(async |broker| {
        let count = 2 * PART_ENTRIES_MAX as u64 + 5;
        let mut entries = vec![opening(7, 1)];
        entries.extend((2..=count).map(|seq| mutation(7, seq)));
        assert!(append(broker, Cursor::default(), &entries).await);
        let mut reply = broker.request(&channel(), BrokerRequest::Load).await;
        let mut read: Vec<Arc<Entry>> = Vec::new();
        let mut parts = 0;
        loop {
            let (BrokerReply::Loaded { entries, more, .. }
            | BrokerReply::Entries { entries, more, .. }) = reply
            else {
                panic!("{reply:?}");
            };
            parts += 1;
            assert!(entries.len() <= PART_ENTRIES_MAX && !entries.is_empty());
            read.extend(entries);
            if !more {
                break;
            }
            let after = read.last().unwrap().cursor.seq;
            reply = broker
                .request(&channel(), BrokerRequest::Read { after })
                .await;
        }
        assert_eq!(parts, 3);
        assert_eq!(read, entries);
    });
}

#[test]
fn answers_carry_the_brokers_clock() {
    for_every_broker(async |broker| {
        let before = crate::clock::unix();
        for request in [BrokerRequest::Load, BrokerRequest::Read { after: 0 }] {
            let reply = broker.request(&channel(), request).await;
            let (BrokerReply::Loaded { clock, .. } | BrokerReply::Entries { clock, .. }) = reply
            else {
                panic!("{reply:?}");
            };
            assert!((before..=crate::clock::unix()).contains(&clock));
        }
    });
}

#[test]
fn channels_do_not_see_each_other() {
    for_every_broker(async |broker| {
        three(broker).await;
        for other in ["board:mai", "board:main2", "board:main:x", "aoard:main"] {
            let reply = broker
                .request(&other.parse().unwrap(), BrokerRequest::Load)
                .await;
            assert!(matches!(reply, BrokerReply::Loaded { entries, .. } if entries.is_empty()));
        }
    });
}

#[test]
fn reading_past_the_head_says_load_again() {
    for_every_broker(async |broker| {
        three(broker).await;
        assert_eq!(read(broker, 4).await, None);
        assert_eq!(read(broker, u64::MAX).await, None);
    });
}

#[test]
fn an_append_to_another_head_is_a_conflict() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let head = entries[2].cursor;
        let next = [mutation(7, 4)];
        for wrong in [
            Cursor::default(),
            entries[1].cursor,
            Cursor::new(6, head.seq, head.tag),
            Cursor::new(head.epoch, head.seq, head.tag + 1),
        ] {
            assert!(!append(broker, wrong, &next).await, "{wrong:?}");
        }
        assert_eq!(load(broker).await.1, entries);
        assert!(append(broker, head, &next).await);
        assert!(!append(broker, head, &next).await);
    });
}

#[test]
fn an_append_is_whole_or_nothing() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let gap = [mutation(7, 4), mutation(7, 6)];
        assert!(!append(broker, entries[2].cursor, &gap).await);
        assert!(!append(broker, entries[2].cursor, &[]).await);
        assert_eq!(load(broker).await.1, entries);
    });
}

#[test]
fn only_the_present_run_appends_and_an_empty_log_starts_with_an_opening() {
    for_every_broker(async |broker| {
        assert!(!append(broker, Cursor::default(), &[mutation(7, 1)]).await);
        let entries = three(broker).await;
        let foreign = entry(7, 4, 2, EntryBody::Deletion);
        assert!(!append(broker, entries[2].cursor, &[foreign]).await);
    });
}

#[test]
fn a_snapshot_trims_the_log_and_is_loaded_with_the_rest() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let second = snapshot(entries[1].cursor);
        put_snapshot(broker, second.clone(), 1).await;
        assert_eq!(
            load(broker).await,
            (Some(second), entries[1..].to_vec(), RunId(1))
        );
        assert_eq!(read(broker, 0).await, None);
        assert_eq!(read(broker, 1).await.unwrap(), entries[1..]);
        assert!(append(broker, entries[2].cursor, &[mutation(7, 4)]).await);
    });
}

#[test]
fn a_snapshot_never_trims_what_it_does_not_cover() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        put_snapshot(broker, snapshot(entries[1].cursor), u64::MAX).await;
        assert_eq!(load(broker).await.1, entries[2..]);
        assert_eq!(read(broker, 2).await.unwrap(), entries[2..]);
    });
}

#[test]
fn snapshots_only_go_forward_on_the_same_line() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let off_the_line = Cursor::new(7, 2, 1);
        put_snapshot(broker, snapshot(off_the_line), 2).await;
        put_snapshot(broker, snapshot(Cursor::new(7, 9, 1)), 2).await;
        assert_eq!(load(broker).await.0, None);
        let third = snapshot(entries[2].cursor);
        put_snapshot(broker, third.clone(), 0).await;
        put_snapshot(broker, snapshot(entries[1].cursor), 2).await;
        assert_eq!(load(broker).await, (Some(third), entries, RunId(1)));
    });
}

#[test]
fn parts_count_for_nothing_until_the_snapshot_is_put() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let second = snapshot(entries[1].cursor);
        put_snapshot(broker, second.clone(), 0).await;
        let third = StoredSnapshot::encode(snapshot(entries[2].cursor), 1);
        assert!(third.parts.len() > 1);
        put_parts(broker, &third).await;
        assert_eq!(load(broker).await.0, Some(second.clone()));
        // One more or less than there are: not these parts.
        for parts in [third.name.parts - 1, third.name.parts + 1] {
            let name = SnapshotName {
                parts,
                ..third.name
            };
            let reply = commit(broker, name, 3).await;
            assert!(matches!(reply, BrokerReply::Conflict), "{reply:?}");
            assert_eq!(
                load(broker).await,
                (Some(second.clone()), entries.clone(), RunId(1))
            );
        }
        let reply = commit(broker, third.name, 3).await;
        assert!(matches!(reply, BrokerReply::SnapshotStored), "{reply:?}");
        assert_eq!(
            load(broker).await,
            (Some(snapshot(entries[2].cursor)), Vec::new(), RunId(1))
        );
    });
}

#[test]
fn a_snapshot_that_somebody_else_has_begun_takes_the_place_of_one_that_was_not_put() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let second = StoredSnapshot::encode(snapshot(entries[1].cursor), 1);
        let third = StoredSnapshot::encode(snapshot(entries[2].cursor), 1);
        put_parts(broker, &second).await;
        put_parts(broker, &third).await;
        let reply = commit(broker, second.name, 2).await;
        assert!(matches!(reply, BrokerReply::Conflict), "{reply:?}");
        let reply = commit(broker, third.name, 0).await;
        assert!(matches!(reply, BrokerReply::SnapshotStored), "{reply:?}");
        assert_eq!(load(broker).await.1, entries);
    });
}

#[test]
fn a_fully_trimmed_log_still_has_its_head() {
    for_every_broker(async |broker| {
        let entries = three(broker).await;
        let head = entries[2].cursor;
        put_snapshot(broker, snapshot(head), 3).await;
        assert_eq!(read(broker, 3).await, Some(Vec::new()));
        assert_eq!(read(broker, 2).await, None);
        assert!(append(broker, head, &[mutation(7, 4)]).await);
    });
}

#[test]
fn a_watch_tells_of_appends_by_others_only() {
    for_every_broker(async |broker| {
        let mut watch = broker.watch(&channel());
        let entries = three(broker).await;
        watch.changed().await;
        assert!(append(broker, entries[2].cursor, &[mutation(7, 4)]).await);
        watch.seen(4);
        let silence = tokio::time::timeout(std::time::Duration::from_millis(20), watch.changed());
        assert!(silence.await.is_err());
    });
}

#[test]
fn many_writers_of_many_channels_all_get_their_answer() {
    for_every_broker(async |broker| {
        let calls = (0..200).map(|n| {
            let request = BrokerRequest::Append {
                expected: Cursor::default(),
                entries: vec![opening(7, 1)],
            };
            broker.request(&format!("board:c{}", n % 100).parse().unwrap(), request)
        });
        let calls: Vec<_> = calls.collect();
        let mut appended = 0;
        for call in calls {
            appended += usize::from(matches!(call.await, BrokerReply::Appended));
        }
        assert_eq!(appended, 100);
    });
}
