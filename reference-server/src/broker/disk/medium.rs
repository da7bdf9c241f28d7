//! Where the bytes of the database are, and what has become of that place.
//!
//! redb gives up after any failure and says no more than that there was one. What may be done about it
//! depends on which: a write that found no room did nothing to what is there, and the database can be opened
//! again. After anything else, a failed sync above all, nobody knows what the disk holds.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::FILE;

/// What is written to find out whether there is room again.
const PROBE_FILE: &str = "tidewire.probe";

/// A place for one database, which can be opened more than once, one after the other.
pub(super) trait Medium: std::fmt::Debug + Send + Sync {
    /// Opens it, or makes it.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Whether so many more bytes can be written to it.
    fn try_room(&self, bytes: usize) -> io::Result<()>;
}

/// A file in a data directory.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(dir: &Path) -> Self {
        // One that a killed process has left takes room.
        let _ = std::fs::remove_file(dir.join(PROBE_FILE));
        Self(dir.into())
    }
}

impl Medium for Directory {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.0.join(FILE))?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    /// By writing: what file systems say is free is not always what a quota or a reserve leaves.
    fn try_room(&self, bytes: usize) -> io::Result<()> {
        let path = self.0.join(PROBE_FILE);
        let written = write_noise(&path, bytes);
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }
}

fn write_noise(path: &Path, bytes: usize) -> io::Result<()> {
    // Not zeros, which a file system may keep for nothing.
    let mut noise = vec![0; 64 * 1024];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(noise.len());
        file.write_all(&noise[..now])?;
        left -= now;
    }
    // Some file systems look for room only now.
    file.sync_data()
}

/// What has become of a medium.
#[derive(Debug, Default)]
pub(super) struct Condition(AtomicU8);

const SOUND: u8 = 0;
const FULL: u8 = 1;
const BROKEN: u8 = 2;

impl Condition {
    /// A write found no room.
    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Acquire) == FULL
    }

    /// Something else failed: nobody knows what is on the disk until the server is started on it again.
    pub(super) fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire) == BROKEN
    }

    /// There is room again. What is broken stays so.
    pub(super) fn has_room(&self) {
        let _ = self
            .0
            .compare_exchange(FULL, SOUND, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(super) fn breaks(&self) {
        self.0.store(BROKEN, Ordering::Release);
    }

    fn note(&self, error: &io::Error, may_be_full: bool) {
        let is_full = matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        );
        let condition = match may_be_full && is_full {
            true => FULL,
            false => BROKEN,
        };
        self.0.fetch_max(condition, Ordering::AcqRel);
    }
}

/// A medium that was opened, and notes what fails.
#[derive(Debug)]
pub(super) struct Noted {
    inner: Box<dyn StorageBackend>,
    condition: Arc<Condition>,
}

impl Noted {
    pub(super) fn new(inner: Box<dyn StorageBackend>, condition: Arc<Condition>) -> Self {
        Self { inner, condition }
    }

    fn note<T>(&self, may_be_full: bool, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.condition.note(error, may_be_full);
        }
        result
    }
}

impl StorageBackend for Noted {
    fn len(&self) -> io::Result<u64> {
        self.note(false, self.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.note(false, self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(true, self.inner.set_len(len))
    }

    /// A sync that fails for want of room fails: what it was to make durable may be gone, and is not written
    /// again.
    fn sync_data(&self) -> io::Result<()> {
        self.note(false, self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(true, self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
