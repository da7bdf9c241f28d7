//! A disk that stops working in the middle of any write, and what is found on it afterwards.

use std::io;
use std::sync::Mutex;

use super::tests::{RUN, append, block_on, cursor, entry, load, put_snapshot};
use super::*;
use crate::broker::{Snapshot, StoredSnapshot};
use crate::log::{Author, TableRow};

/// A disk in memory. It works for so many operations, then tears one write and fails for ever; and it has so
/// much room.
#[derive(Debug)]
pub(super) struct Disk {
    state: Mutex<DiskState>,
}

#[derive(Debug)]
struct DiskState {
    /// What a sync made durable.
    durable: Vec<u8>,
    /// What the process sees.
    now: Vec<u8>,
    /// Since the last sync; the machine's death keeps any of them.
    pending: Vec<Pending>,
    operations_left: usize,
    /// Bytes behind it cannot be written.
    room: usize,
    /// How often somebody wanted more room than there is.
    refusals: usize,
    /// The next syncs find no room.
    syncs_fail: bool,
}

#[derive(Clone, Debug)]
enum Pending {
    Len(usize),
    Write(usize, Vec<u8>),
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Len(len) => bytes.resize(*len, 0),
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    pub(super) fn new(bytes: Vec<u8>, operations_left: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(DiskState {
                durable: bytes.clone(),
                now: bytes,
                pending: Vec::new(),
                operations_left,
                room: usize::MAX,
                refusals: 0,
                syncs_fail: false,
            }),
        })
    }

    /// How often somebody has wanted more room than there is.
    pub(super) fn refusals(&self) -> usize {
        self.state.lock().unwrap().refusals
    }

    /// From now on it has so much room.
    pub(super) fn set_room(&self, room: usize) {
        self.state.lock().unwrap().room = room;
    }

    pub(super) fn fail_syncs(&self, fail: bool) {
        self.state.lock().unwrap().syncs_fail = fail;
    }

    pub(super) fn fail_all(&self) {
        self.state.lock().unwrap().operations_left = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap().now.len()
    }

    /// What is on it after the machine died: the synced bytes and some of the later writes.
    fn after_the_machine_died(&self, rng: &mut fastrand::Rng) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let mut bytes = state.durable.clone();
        for pending in state.pending.iter().filter(|_| rng.bool()) {
            pending.apply(&mut bytes);
        }
        bytes
    }

    /// What is on it after the process died: all writes, the torn one too.
    pub(super) fn after_the_process_died(&self) -> Vec<u8> {
        self.state.lock().unwrap().now.clone()
    }

    fn change(&self, pending: Pending) -> Result<(), io::Error> {
        let mut state = self.state.lock().unwrap();
        // A file that is only long takes no room.
        if matches!(&pending, Pending::Write(at, data) if at + data.len() > state.room) {
            state.refusals += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let works = state.spend();
        let pending = match pending {
            Pending::Write(at, mut data) if works.is_err() => {
                data.truncate(data.len() / 2);
                Pending::Write(at, data)
            }
            other => other,
        };
        pending.apply(&mut state.now);
        state.pending.push(pending);
        works
    }
}

impl DiskState {
    fn spend(&mut self) -> Result<(), io::Error> {
        match self.operations_left.checked_sub(1) {
            Some(left) => {
                self.operations_left = left;
                Ok(())
            }
            None => Err(io::Error::other("the disk stopped working")),
        }
    }
}

/// What redb sees of it.
#[derive(Debug)]
struct Backend(Arc<Disk>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.state.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let at = usize::try_from(offset).unwrap();
        let state = self.0.state.lock().unwrap();
        let bytes = state.now.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::other("past the end"))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.change(Pending::Len(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.0.state.lock().unwrap();
        state.spend()?;
        if state.syncs_fail {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.durable = state.now.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.change(Pending::Write(
            usize::try_from(offset).unwrap(),
            data.into(),
        ))
    }
}

impl medium::Medium for Handle {
    fn open(&self) -> io::Result<Box<dyn redb::StorageBackend>> {
        Ok(Box::new(Backend(self.0.clone())))
    }

    fn try_room(&self, bytes: usize) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        if state.now.len() + bytes > state.room {
            state.refusals += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// What the broker has of it.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Disk>);

pub(super) fn open(disk: &Arc<Disk>) -> Option<DiskBroker> {
    let medium = Arc::new(Handle(disk.clone()));
    let store = Store::new(medium, Path::new("in memory"), RUN, 1 << 20).ok()?;
    DiskBroker::start(store, 64, Duration::from_millis(20)).ok()
}

/// Appends until the disk fails; returns how many were answered.
pub(super) async fn fill(broker: &DiskBroker, from: u64, most: u64) -> u64 {
    for seq in from..from + most {
        match append(broker, seq).await {
            BrokerReply::Appended => {}
            BrokerReply::Failed { .. } => return seq - 1,
            other => panic!("{other:?}"),
        }
    }
    from + most - 1
}

fn check(image: Vec<u8>, answered: u64, at: usize) {
    block_on(async {
        let broker = open(&Disk::new(image, usize::MAX)).expect("the database opens again");
        let (_, entries, run) = load(&broker).await;
        let kept = entries.len() as u64;
        assert!(
            (answered..=answered + 1).contains(&kept),
            "failed at operation {at}: {answered} were answered, {kept} are there"
        );
        assert_eq!(run, RUN);
        assert!(entries.iter().zip(1..).all(|(e, seq)| **e == *entry(seq)));
        // The log goes on.
        assert_eq!(fill(&broker, kept + 1, 3).await, kept + 3);
    });
}

#[test]
fn answered_appends_survive_a_disk_that_fails_at_any_write() {
    // A database with something in it.
    let disk = Disk::new(Vec::new(), usize::MAX);
    block_on(async {
        let broker = open(&disk).unwrap();
        assert_eq!(fill(&broker, 1, 5).await, 5);
    });
    let start = disk.after_the_process_died();
    let mut rng = fastrand::Rng::with_seed(3);
    for operations in 0..60 {
        let disk = Disk::new(start.clone(), operations);
        let answered = block_on(async {
            let Some(broker) = open(&disk) else { return 5 };
            let answered = fill(&broker, 6, 1000).await;
            // Once it has failed, nothing more is promised.
            assert!(matches!(
                append(&broker, answered + 1).await,
                BrokerReply::Failed { .. }
            ));
            answered
        });
        check(disk.after_the_process_died(), answered, operations);
        for _ in 0..3 {
            check(disk.after_the_machine_died(&mut rng), answered, operations);
        }
    }
}

/// A snapshot of several parts at an entry.
fn snapshot_at(seq: u64) -> StoredSnapshot {
    let row = |author| {
        let row = TableRow {
            last: seq,
            ..TableRow::default()
        };
        (Author([author; 16]), row)
    };
    let snapshot = Snapshot {
        cursor: cursor(seq),
        ms: seq,
        table: (0..5).map(row).collect(),
        ..Snapshot::default()
    };
    StoredSnapshot::encode(snapshot, 1)
}

/// Whatever the disk does between the first part and the step that makes them count: one whole snapshot is
/// found, the log is trimmed for no other, and what was begun does not stay for ever.
#[test]
fn a_snapshot_counts_whole_or_not_at_all_on_a_disk_that_fails_at_any_write() {
    let disk = Disk::new(Vec::new(), usize::MAX);
    block_on(async {
        let broker = open(&disk).unwrap();
        assert_eq!(fill(&broker, 1, 9).await, 9);
        assert!(put_snapshot(&broker, &snapshot_at(3)).await);
    });
    let start = disk.after_the_process_died();
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut old, mut new) = (0, 0);
    for operations in (0..120).step_by(2) {
        let disk = Disk::new(start.clone(), operations);
        let answered = block_on(async {
            match open(&disk) {
                Some(broker) => put_snapshot(&broker, &snapshot_at(7)).await,
                None => false,
            }
        });
        for image in [
            disk.after_the_process_died(),
            disk.after_the_machine_died(&mut rng),
        ] {
            block_on(async {
                let broker = open(&Disk::new(image, usize::MAX)).expect("it opens again");
                let (found, entries, _) = load(&broker).await;
                let found = found.expect("one is there");
                let seq = found.name.cursor.seq;
                assert_eq!(*found, snapshot_at(seq));
                assert!(seq == 7 || (seq == 3 && !answered), "{seq} at {operations}");
                let expected: Vec<_> = (seq..=9).map(entry).collect();
                assert_eq!(entries, expected, "at {operations}");
                (old, new) = (old + u32::from(seq == 3), new + u32::from(seq == 7));
                // Snapshots go on.
                assert!(put_snapshot(&broker, &snapshot_at(8)).await);
                assert_eq!(*load(&broker).await.0.unwrap(), snapshot_at(8));
            });
        }
    }
    assert!(old > 0 && new > 0, "{old} {new}");
}
