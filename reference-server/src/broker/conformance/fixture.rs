//! Entries and snapshots to try a broker with, and what is asked of it again and again.

use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{Cursor, Ops, Record};

use crate::broker::{
    Broker, BrokerReply, BrokerRequest, Entry, EntryBody, RunId, Snapshot, TableRow,
};
use crate::log::{Author, SnapshotName, StoredSnapshot};

/// An empty broker that is tried.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) broker: Arc<dyn Broker>,
    /// What it said itself.
    pub(super) run: RunId,
}

impl Subject {
    pub(super) async fn new(broker: Arc<dyn Broker>) -> Self {
        let run = match broker.request(&channel(), BrokerRequest::Load).await {
            BrokerReply::Loaded { run, .. } => run,
            other => panic!("Load is answered with {other:?}"),
        };
        Self { broker, run }
    }

    pub(super) fn opening(&self, epoch: u64, seq: u64) -> Arc<Entry> {
        entry(epoch, seq, self.run, EntryBody::opening(Ops::default()))
    }

    pub(super) fn mutation(&self, epoch: u64, seq: u64) -> Arc<Entry> {
        let record = Record {
            collection: "c".into(),
            id: format!("r{seq}"),
            fields: Vec::new(),
            ..Record::default()
        };
        let outcome = Ok(Ops::new([&put_op(record)]));
        let body = EntryBody::mutation((Author([1; 16]), seq), 1, 1, outcome);
        entry(epoch, seq, self.run, body)
    }
}

/// The one that most checks are about.
pub(super) fn channel() -> ChannelName {
    name("board:main")
}

pub(super) fn name(text: &str) -> ChannelName {
    text.parse().expect("a channel's name")
}

pub(super) fn entry(epoch: u64, seq: u64, run: RunId, body: EntryBody) -> Arc<Entry> {
    Arc::new(Entry {
        // Brokers compare tags, they do not compute them.
        cursor: Cursor::new(epoch, seq, epoch * 1000 + seq),
        previous_tag: match seq {
            1 => 0,
            seq => epoch * 1000 + seq - 1,
        },
        ms: seq,
        run,
        body,
    })
}

pub(super) fn snapshot(cursor: Cursor) -> Snapshot {
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

pub(super) async fn append(on: &Subject, expected: Cursor, entries: &[Arc<Entry>]) -> bool {
    append_to(on, &channel(), expected, entries).await
}

/// Whether they are in the log.
pub(super) async fn append_to(
    on: &Subject,
    channel: &ChannelName,
    expected: Cursor,
    entries: &[Arc<Entry>],
) -> bool {
    let request = BrokerRequest::Append {
        expected,
        entries: entries.to_vec(),
    };
    match on.broker.request(channel, request).await {
        BrokerReply::Appended => true,
        BrokerReply::Conflict => false,
        BrokerReply::ReadBack => {
            let after = expected.seq;
            let read = on.broker.request(channel, BrokerRequest::Read { after });
            match read.await {
                BrokerReply::Entries { entries: read, .. } => {
                    !entries.is_empty() && read.starts_with(entries)
                }
                BrokerReply::Trimmed => false,
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn load(on: &Subject) -> (Option<Snapshot>, Vec<Arc<Entry>>, RunId) {
    match on.broker.request(&channel(), BrokerRequest::Load).await {
        BrokerReply::Loaded {
            snapshot,
            entries,
            more: false,
            run,
            ..
        } => (
            snapshot.map(|s| s.read().expect("a snapshot as it was stored")),
            entries,
            run,
        ),
        other => panic!("{other:?}"),
    }
}

/// `None`: trimmed.
pub(super) async fn read(on: &Subject, after: u64) -> Option<Vec<Arc<Entry>>> {
    match on
        .broker
        .request(&channel(), BrokerRequest::Read { after })
        .await
    {
        BrokerReply::Entries { entries, .. } => Some(entries),
        BrokerReply::Trimmed => None,
        other => panic!("{other:?}"),
    }
}

/// Puts parts one by one, then the snapshot.
pub(super) async fn put_snapshot(on: &Subject, snapshot: Snapshot, trim_through: u64) {
    let stored = StoredSnapshot::encode(snapshot, 1);
    put_parts(on, &stored).await;
    let reply = commit(on, stored.name, trim_through).await;
    assert!(matches!(reply, BrokerReply::SnapshotStored), "{reply:?}");
}

pub(super) async fn put_parts(on: &Subject, stored: &StoredSnapshot) {
    for (part, bytes) in (0..).zip(&stored.parts) {
        let request = BrokerRequest::PutPart {
            cursor: stored.name.cursor,
            part,
            bytes: bytes.clone(),
        };
        let reply = on.broker.request(&channel(), request).await;
        assert!(matches!(reply, BrokerReply::PartStored), "{reply:?}");
    }
}

pub(super) async fn commit(on: &Subject, snapshot: SnapshotName, trim_through: u64) -> BrokerReply {
    let request = BrokerRequest::PutSnapshot {
        snapshot,
        trim_through,
    };
    on.broker.request(&channel(), request).await
}

/// A log with an opening and two mutations; its head is `(7, 3)`.
pub(super) async fn three(on: &Subject) -> Vec<Arc<Entry>> {
    let entries = vec![on.opening(7, 1), on.mutation(7, 2), on.mutation(7, 3)];
    assert!(append(on, Cursor::default(), &entries).await);
    entries
}
