//! Snapshots as they are stored: in parts that every broker can take, which count once a last step has
//! named them all.
//!
//! Invariant: a snapshot whose parts are not exactly those that its name says is an error, never a state.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidewire_core::wire::Cursor;

use super::Snapshot;
use super::codec::{self, DecodeError, PartWriter};

/// A part is at most this large, so that a broker with messages of 1 MiB takes it.
const PART_BYTES_MAX: usize = 512 * 1024;

/// What makes stored parts a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotName {
    /// Which entry it includes last.
    pub cursor: Cursor,
    /// How many parts it has.
    pub parts: u32,
    /// First 16 bytes of SHA-256 over, part by part, its length as 8 bytes big-endian and its bytes.
    pub digest: [u8; 16],
}

/// A snapshot as a broker keeps it and hands it over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredSnapshot {
    /// What it was committed as.
    pub name: SnapshotName,
    /// In order.
    pub parts: Vec<Bytes>,
}

impl StoredSnapshot {
    /// All parts of a snapshot at once.
    #[must_use]
    pub fn encode(snapshot: Snapshot, part_bytes: usize) -> Self {
        let mut encoding = Encoding::new(snapshot, part_bytes);
        let parts = std::iter::from_fn(|| encoding.next_part()).collect();
        Self {
            name: encoding.name(),
            parts,
        }
    }

    /// Parts that were made elsewhere, and what they would be committed as.
    #[must_use]
    pub fn of(cursor: Cursor, parts: Vec<Bytes>) -> Self {
        let mut digest = PartsDigest::default();
        parts.iter().for_each(|part| digest.add(part));
        let name = SnapshotName {
            cursor,
            parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            digest: digest.finish(),
        };
        Self { name, parts }
    }

    /// Reads all parts.
    pub fn read(&self) -> Result<Snapshot, DecodeError> {
        if Self::of(self.name.cursor, self.parts.clone()).name != self.name {
            return Err(DecodeError::Parts);
        }
        let snapshot = codec::decode_parts(&self.parts)?;
        if snapshot.cursor != self.name.cursor {
            return Err(DecodeError::Parts);
        }
        Ok(snapshot)
    }

    /// Whether the channel was deleted there.
    pub fn is_deleted(&self) -> Result<bool, DecodeError> {
        let first = self.parts.get(..1).ok_or(DecodeError::Parts)?;
        codec::decode_parts(first).map(|snapshot| snapshot.deleted)
    }

    /// What it costs in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// A snapshot on its way into parts, one at a time.
#[derive(Debug)]
pub struct Encoding {
    cursor: Cursor,
    writer: PartWriter,
    parts: u32,
    digest: PartsDigest,
}

impl Encoding {
    /// Nothing is encoded yet. A part has about `part_bytes`, and at least one record or row.
    #[must_use]
    pub fn new(snapshot: Snapshot, part_bytes: usize) -> Self {
        Self {
            cursor: snapshot.cursor,
            writer: PartWriter::new(snapshot, part_bytes.min(PART_BYTES_MAX)),
            parts: 0,
            digest: PartsDigest::default(),
        }
    }

    /// Which entry it includes last.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How many parts there were so far; the next one's place.
    #[must_use]
    pub const fn parts(&self) -> u32 {
        self.parts
    }

    /// The next part; `None` after the last one.
    pub fn next_part(&mut self) -> Option<Bytes> {
        let part = self.writer.next_part()?;
        self.parts += 1;
        self.digest.add(&part);
        Some(part)
    }

    /// What to commit the parts so far as.
    #[must_use]
    pub fn name(&self) -> SnapshotName {
        SnapshotName {
            cursor: self.cursor,
            parts: self.parts,
            digest: self.digest.finish(),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct PartsDigest(Sha256);

impl PartsDigest {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn finish(&self) -> [u8; 16] {
        let mut first = [0; 16];
        first.copy_from_slice(&self.0.clone().finalize()[..16]);
        first
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::document::put_op;
    use tidewire_core::wire::{Field, Record};

    use super::*;
    use crate::log::{Author, TableRow};

    fn snapshot(records: usize, rows: u8) -> Snapshot {
        let mut snapshot = Snapshot {
            cursor: Cursor::new(9, 8, 7),
            ms: 6,
            ..Snapshot::default()
        };
        for n in 0..records {
            let record = Record {
                collection: format!("c{}", n % 3),
                id: format!("r{n}"),
                fields: vec![Field {
                    name: "f".into(),
                    value: format!("\"{}\"", "x".repeat(n * 37 % 200)).into(),
                    ..Field::default()
                }],
                ..Record::default()
            };
            std::sync::Arc::make_mut(&mut snapshot.document).apply(&put_op(record));
        }
        let rows = (0..rows).map(|n| {
            let row = TableRow {
                last: u64::from(n),
                ..TableRow::default()
            };
            (Author([n; 16]), row)
        });
        snapshot.table = rows.collect();
        snapshot
    }

    #[test]
    fn parts_are_bounded_and_say_what_the_snapshot_says() {
        for (records, rows) in [(0, 0), (1, 0), (0, 3), (100, 40)] {
            for part_bytes in [1, 500, 4096, usize::MAX] {
                let whole = snapshot(records, rows);
                let stored = StoredSnapshot::encode(whole.clone(), part_bytes);
                let most = part_bytes.clamp(400, PART_BYTES_MAX);
                assert!(stored.parts.iter().all(|part| part.len() <= most));
                assert_eq!(stored.read().as_ref(), Ok(&whole));
                assert_eq!(stored.is_deleted(), Ok(false));
            }
        }
        assert!(StoredSnapshot::encode(snapshot(100, 40), 500).parts.len() > 20);
    }

    #[test]
    fn a_part_that_is_missing_or_another_one_is_an_error() {
        let stored = StoredSnapshot::encode(snapshot(100, 3), 1000);
        for at in 0..stored.parts.len() {
            let mut short = stored.clone();
            short.parts.remove(at);
            assert_eq!(short.read(), Err(DecodeError::Parts));
            short.name.parts -= 1;
            assert_eq!(short.read(), Err(DecodeError::Parts));
        }
        let mut swapped = stored.clone();
        swapped.parts.swap(1, 2);
        assert_eq!(swapped.read(), Err(DecodeError::Parts));
        let mut misnamed = stored;
        misnamed.name.cursor.seq += 1;
        assert_eq!(misnamed.read(), Err(DecodeError::Parts));
    }
}
