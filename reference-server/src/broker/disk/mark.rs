//! How far a directory's database has come, in a file of its own: a database that was put back alone, from
//! a backup, is older than this says.
//!
//! Invariant: the mark is written after its transaction was synced, so a database that nobody exchanged is
//! never older than it. A mark that is absent, torn or older says nothing.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;

use crate::log::RunId;

/// The file inside a data directory.
const FILE: &str = "tidewire.mark";

/// Run id, transactions, and both xored with a constant, so that a torn one is found.
const BYTES: usize = 24;
const TORN: u64 = 0x7469_6465_7769_7265;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) run: RunId,
    /// How many transactions the database has had in all its life.
    pub(super) transactions: u64,
}

impl Mark {
    /// The mark of a directory, if there is a readable one.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let mut bytes = [0; BYTES];
        File::open(dir.join(FILE))
            .ok()?
            .read_exact(&mut bytes)
            .ok()?;
        let number = |at: usize| {
            let bytes = bytes[at..at + 8].try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let (run, transactions) = (number(0)?, number(8)?);
        (number(16)? == run ^ transactions ^ TORN).then_some(Self {
            run: RunId(run),
            transactions,
        })
    }

    /// Whether a database has lost something since the mark was made, or is another one.
    pub(super) fn is_ahead_of(self, run: RunId, transactions: u64) -> bool {
        self.run != run || self.transactions > transactions
    }

    fn bytes(self) -> [u8; BYTES] {
        let numbers = [
            self.run.0,
            self.transactions,
            self.run.0 ^ self.transactions ^ TORN,
        ];
        let mut bytes = [0; BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

/// Where marks are written.
#[derive(Debug)]
pub(super) struct MarkFile(File);

impl MarkFile {
    pub(super) fn open(dir: &Path) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false);
        file.open(dir.join(FILE)).map(Self)
    }

    /// Not synced: a mark that is lost is an older mark. One that cannot be written neither: the data is safe.
    pub(super) fn write(&self, mark: Mark) {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = &self.0;
        let _ = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(&mark.bytes()));
    }
}
