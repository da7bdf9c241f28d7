//! The tables of the disk broker, and what one transaction does to them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition,
};
use tidewire_core::ChannelName;
use tidewire_core::wire::Cursor;

use super::mark::{Mark, MarkFile};
use super::medium::{Condition, Medium, Noted};
use super::{OpenError, failed};
use crate::broker::{Listed, PART_BYTES_MAX};
use crate::clock;
use crate::log::codec::{DecodeError, FORMAT, decode_entry};
use crate::log::{
    BrokerReply, Entry, EntryBody, PART_ENTRIES_MAX, RunId, SnapshotName, StoredSnapshot,
    may_append,
};

/// `format`, `run`, `life`: how many transactions there have been, and `bytes`: what is stored.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// (channel, seq) → entry.
const ENTRIES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("entries");
/// channel → its head: epoch, seq, tag, run id.
const HEADS: TableDefinition<&str, (u64, u64, u64, u64)> = TableDefinition::new("heads");
/// channel → its newest snapshot: epoch, seq, tag, number of parts, digest.
const SNAPSHOTS: TableDefinition<&str, SnapshotRow> = TableDefinition::new("snapshots");
type SnapshotRow = (u64, u64, u64, u32, [u8; 16]);
/// (channel, tag, part) → a part of the snapshot at that tag: the newest one, or one that is not put yet.
const PARTS: TableDefinition<(&str, u64, u32), &[u8]> = TableDefinition::new("parts");

/// What a store operation meets.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("the database failed: {0}")]
    Database(#[source] Box<redb::Error>),
    #[error("the database holds something else than was written: {0}")]
    Rotten(#[from] DecodeError),
    #[error("the database lacks a part of a snapshot")]
    PartMissing,
    #[error("the disk is full")]
    DiskFull,
    #[error("the disk has no room: {0}")]
    NoRoom(#[source] std::io::Error),
    #[error("the database is being opened again")]
    Closed,
    #[error("another database is in its place")]
    Exchanged,
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// One write of one channel.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) channel: ChannelName,
    pub(super) kind: WriteKind,
}

#[derive(Debug)]
pub(super) enum WriteKind {
    Append {
        expected: Cursor,
        entries: Vec<Arc<Entry>>,
        encoded: Vec<Vec<u8>>,
    },
    PutPart {
        cursor: Cursor,
        part: u32,
        bytes: Bytes,
    },
    PutSnapshot {
        snapshot: SnapshotName,
        trim_through: u64,
    },
}

impl Write {
    /// Roughly what it costs a transaction.
    pub(super) fn bytes(&self) -> usize {
        64 + match &self.kind {
            WriteKind::Append { encoded, .. } => encoded.iter().map(Vec::len).sum(),
            WriteKind::PutPart { bytes, .. } => bytes.len(),
            WriteKind::PutSnapshot { .. } => 0,
        }
    }
}

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    medium: Arc<dyn Medium>,
    cache_bytes: usize,
    condition: Arc<Condition>,
    /// `None`: it could not be opened again after the disk was full.
    database: RwLock<Option<Database>>,
    run: RunId,
    /// How many transactions the database has had in all its life.
    life: AtomicU64,
    transactions: AtomicU64,
    mark: Option<MarkFile>,
    /// How many channels have a log.
    channels: AtomicU64,
    /// At so many, no further one begins.
    channels_max: AtomicU64,
    /// What is stored. The file is larger: it has pages that are half empty or free, and keeps those.
    bytes: AtomicU64,
    /// At so many, only what lets others go is written.
    bytes_max: AtomicU64,
}

impl Store {
    /// Opens it: makes the tables, or checks that they are of this version.
    pub(super) fn new(
        medium: Arc<dyn Medium>,
        dir: &Path,
        new_run: RunId,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let condition = Arc::new(Condition::default());
        let database = open(&*medium, &condition, dir, cache_bytes)?;
        let (format, run) = prepare(&database, new_run).map_err(broken(dir))?;
        if format != FORMAT {
            return Err(OpenError::Format {
                dir: dir.into(),
                found: format,
                expected: FORMAT,
            });
        }
        let counts = Counts::of(&database).map_err(broken(dir))?;
        Ok(Self {
            dir: dir.into(),
            medium,
            cache_bytes,
            condition,
            database: RwLock::new(Some(database)),
            run,
            life: AtomicU64::new(counts.life),
            transactions: AtomicU64::new(0),
            mark: None,
            channels: AtomicU64::new(counts.channels),
            channels_max: AtomicU64::new(u64::MAX),
            bytes: AtomicU64::new(counts.bytes),
            bytes_max: AtomicU64::new(u64::MAX),
        })
    }

    /// What has become of the disk.
    pub(super) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Opens it again, after a write that found no room. Nothing else may be in its place.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut place = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // It is locked as long as it is open.
        *place = None;
        let database = open(&*self.medium, &self.condition, &self.dir, self.cache_bytes)?;
        let counts = Counts::of(&database)?;
        // What was told to have failed may be there all the same.
        if counts.run != Some(self.run) || counts.life < self.life() {
            self.condition.breaks();
            return Err(StoreError::Exchanged);
        }
        self.life.store(counts.life, Ordering::Relaxed);
        self.channels.store(counts.channels, Ordering::Relaxed);
        self.bytes.store(counts.bytes, Ordering::Relaxed);
        *place = Some(database);
        Ok(())
    }

    /// Goes on if there is room for so much.
    pub(super) fn try_room(&self, bytes: usize) -> Result<(), StoreError> {
        self.medium.try_room(bytes).map_err(StoreError::NoRoom)?;
        if self.begin_read().is_err() {
            self.reopen()?;
        }
        if let Err(error) = self.write(std::iter::empty()) {
            let _ = self.reopen();
            return Err(error);
        }
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let Ok(database) = self.database.try_read() else {
            return Err(StoreError::Closed);
        };
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        Ok(database.begin_read()?)
    }

    pub(super) fn set_channels_max(&self, channels_max: u64) {
        self.channels_max.store(channels_max, Ordering::Relaxed);
    }

    /// Whether as many channels have a log as may.
    pub(super) fn has_all_channels(&self) -> bool {
        self.channels.load(Ordering::Relaxed) >= self.channels_max.load(Ordering::Relaxed)
    }

    /// How many bytes are stored.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Whether as much is stored as may be.
    pub(super) fn is_at_limit(&self) -> bool {
        self.bytes() >= self.bytes_max.load(Ordering::Relaxed)
    }

    /// Whether a channel has one. A failure says yes: then it is told by whoever reads the log.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.try_has(channel).unwrap_or(true)
    }

    fn try_has(&self, channel: &ChannelName) -> Result<bool, StoreError> {
        let heads = self.begin_read()?.open_table(HEADS)?;
        Ok(heads.get(channel.as_str())?.is_some())
    }

    /// How many transactions the database has had in all its life.
    pub(super) fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    /// From now on every transaction leaves its mark, beginning with what was.
    pub(super) fn mark(&mut self, mark: MarkFile) {
        mark.write(self.present());
        self.mark = Some(mark);
    }

    fn present(&self) -> Mark {
        Mark {
            run: self.run,
            transactions: self.life(),
        }
    }

    /// Another life of the data begins.
    pub(super) fn set_run(&mut self, dir: &Path, run: RunId) -> Result<(), OpenError> {
        let mut set = || -> Result<(), StoreError> {
            let database = self.database.get_mut();
            let database = database.unwrap_or_else(PoisonError::into_inner);
            let transaction = database.as_ref().ok_or(StoreError::Closed)?.begin_write()?;
            transaction.open_table(META)?.insert("run", run.0)?;
            transaction.commit()?;
            Ok(())
        };
        set().map_err(broken(dir))?;
        self.run = run;
        Ok(())
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    /// How many were synced.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    pub(super) fn load(&self, channel: &ChannelName) -> Result<BrokerReply, StoreError> {
        let channel = channel.as_str();
        let transaction = self.begin_read()?;
        let snapshot = match transaction.open_table(SNAPSHOTS)?.get(channel)? {
            Some(stored) => {
                let name = snapshot_name(stored.value());
                let parts = transaction.open_table(PARTS)?;
                let part = |part| match parts.get((channel, name.cursor.tag, part))? {
                    Some(bytes) => Ok(Bytes::copy_from_slice(bytes.value())),
                    None => Err(StoreError::PartMissing),
                };
                let parts = (0..name.parts).map(part).collect::<Result<_, _>>()?;
                Some(Arc::new(StoredSnapshot { name, parts }))
            }
            None => None,
        };
        let (entries, more) = part(&transaction.open_table(ENTRIES)?, channel, 0)?;
        Ok(BrokerReply::Loaded {
            snapshot,
            entries,
            more,
            run: self.run,
            clock: clock::unix(),
        })
    }

    pub(super) fn read(
        &self,
        channel: &ChannelName,
        after: u64,
    ) -> Result<BrokerReply, StoreError> {
        let channel = channel.as_str();
        let transaction = self.begin_read()?;
        let head = transaction
            .open_table(HEADS)?
            .get(channel)?
            .map_or(0, |head| head.value().1);
        let (entries, more) = part(&transaction.open_table(ENTRIES)?, channel, after)?;
        let complete = match entries.first() {
            Some(first) => first.cursor.seq == after + 1,
            None => head == after,
        };
        Ok(if complete {
            BrokerReply::Entries {
                entries,
                more,
                run: self.run,
                clock: clock::unix(),
            }
        } else {
            BrokerReply::Trimmed
        })
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Listed, StoreError> {
        let transaction = self.begin_read()?;
        let heads = transaction.open_table(HEADS)?;
        // A prefix stands before every name that begins with it.
        let after = after.map_or("", ChannelName::as_str);
        let mut listed = Listed::default();
        for row in heads.range(after.max(prefix)..)? {
            let (key, _) = row?;
            let key = key.value();
            if !key.starts_with(prefix) {
                break;
            }
            if key == after {
                continue;
            }
            if listed.channels.len() == limit {
                listed.more = true;
                break;
            }
            listed.channels.extend(key.parse::<ChannelName>());
        }
        Ok(listed)
    }

    /// Reads something, of what was synced last.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        let transaction = self.begin_read()?;
        transaction.open_table(META)?.get("format")?;
        Ok(())
    }

    /// Does all writes in one synced transaction and returns their answers in order, or does none.
    pub(super) fn write<'a>(
        &self,
        writes: impl Iterator<Item = &'a Write>,
    ) -> Result<Vec<BrokerReply>, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut replies = Vec::new();
        let life = self.life() + 1;
        let (channels, bytes);
        {
            let mut tables = Tables {
                run: self.run,
                bytes: self.bytes(),
                bytes_max: self.bytes_max.load(Ordering::Relaxed),
                channels_max: self.channels_max.load(Ordering::Relaxed),
                entries: transaction.open_table(ENTRIES)?,
                heads: transaction.open_table(HEADS)?,
                snapshots: transaction.open_table(SNAPSHOTS)?,
                parts: transaction.open_table(PARTS)?,
            };
            for write in writes {
                replies.push(tables.write(write)?);
            }
            channels = tables.heads.len()?;
            bytes = tables.bytes;
            let mut meta = transaction.open_table(META)?;
            meta.insert("life", life)?;
            meta.insert("bytes", bytes)?;
        }
        transaction.commit()?;
        self.life.store(life, Ordering::Relaxed);
        self.channels.store(channels, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.condition.has_room();
        if let Some(mark) = &self.mark {
            mark.write(self.present());
        }
        Ok(replies)
    }
}

/// Opens what is in a medium. Whatever fails there from now on is noted.
fn open(
    medium: &dyn Medium,
    condition: &Arc<Condition>,
    dir: &Path,
    cache_bytes: usize,
) -> Result<Database, OpenError> {
    let io = |source| OpenError::Io {
        dir: dir.into(),
        source,
    };
    let noted = Noted::new(medium.open().map_err(io)?, Arc::clone(condition));
    redb::Builder::new()
        .set_cache_size(cache_bytes)
        .create_with_backend(noted)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { dir: dir.into() },
            DatabaseError::Storage(redb::StorageError::Io(source)) => io(source),
            other => OpenError::Database {
                dir: dir.into(),
                source: Box::new(other),
            },
        })
}

/// Refuses a database of another version before anything is written to it. One that was not closed cleanly
/// cannot be read without repairing it; its format is looked at then.
pub(super) fn refuse_other_formats(dir: &Path) -> Result<(), OpenError> {
    match format(&dir.join(super::FILE)) {
        Ok(Some(found)) if found != FORMAT => Err(OpenError::Format {
            dir: dir.into(),
            found,
            expected: FORMAT,
        }),
        _ => Ok(()),
    }
}

fn format(file: &Path) -> Result<Option<u64>, StoreError> {
    let database = redb::ReadOnlyDatabase::open(file)?;
    let meta = database.begin_read()?.open_table(META)?;
    Ok(meta.get("format")?.map(|format| format.value()))
}

/// What a database says of itself.
struct Counts {
    run: Option<RunId>,
    life: u64,
    channels: u64,
    bytes: u64,
}

impl Counts {
    fn of(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |key| -> Result<_, StoreError> { Ok(meta.get(key)?.map(|n| n.value())) };
        let heads = transaction.open_table(HEADS)?;
        let bytes = match number("bytes")? {
            Some(bytes) => bytes,
            // One that was written before bytes were counted.
            None => stored_bytes(&transaction)?,
        };
        Ok(Self {
            run: number("run")?.map(RunId),
            life: number("life")?.unwrap_or(0),
            channels: heads.len()?,
            bytes,
        })
    }
}

/// What all rows count.
fn stored_bytes(transaction: &ReadTransaction) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = row?;
        bytes += cost(key.value().0, value.value().len());
    }
    for row in transaction.open_table(PARTS)?.iter()? {
        let (key, value) = row?;
        bytes += cost(key.value().0, value.value().len());
    }
    for row in transaction.open_table(HEADS)?.iter()? {
        bytes += cost(row?.0.value(), HEAD_BYTES);
    }
    Ok(bytes)
}

/// What a row counts: its value, its channel's name, and the rest of its key and place.
const fn cost(channel: &str, value: usize) -> u64 {
    (channel.len() + value) as u64 + 32
}

/// Rows of a channel's head and of its snapshot.
const HEAD_BYTES: usize = 160;

/// The tables of one write transaction.
struct Tables<'t> {
    run: RunId,
    /// What is stored.
    bytes: u64,
    bytes_max: u64,
    channels_max: u64,
    entries: redb::Table<'t, (&'static str, u64), &'static [u8]>,
    heads: redb::Table<'t, &'static str, (u64, u64, u64, u64)>,
    snapshots: redb::Table<'t, &'static str, SnapshotRow>,
    parts: redb::Table<'t, (&'static str, u64, u32), &'static [u8]>,
}

impl Tables<'_> {
    fn write(&mut self, write: &Write) -> Result<BrokerReply, StoreError> {
        let channel = write.channel.as_str();
        match &write.kind {
            WriteKind::Append {
                expected,
                entries,
                encoded,
            } => self.append(channel, *expected, entries, encoded),
            WriteKind::PutPart {
                cursor,
                part,
                bytes,
            } => self.put_part(channel, *cursor, *part, bytes),
            WriteKind::PutSnapshot {
                snapshot,
                trim_through,
            } => self.put_snapshot(channel, snapshot, *trim_through),
        }
    }

    fn append(
        &mut self,
        channel: &str,
        expected: Cursor,
        entries: &[Arc<Entry>],
        encoded: &[Vec<u8>],
    ) -> Result<BrokerReply, StoreError> {
        let (epoch, seq, tag, head_run) = self
            .heads
            .get(channel)?
            .map_or((0, 0, 0, 0), |head| head.value());
        let head = Cursor::new(epoch, seq, tag);
        if !may_append(head, RunId(head_run), self.run, expected, entries) {
            return Ok(BrokerReply::Conflict);
        }
        if self.bytes >= self.bytes_max && !is_taken_at_limit(head, entries) {
            return Ok(failed(&"as much is stored as disk_bytes_max allows"));
        }
        if head.seq == 0 && self.heads.len()? >= self.channels_max {
            return Ok(failed(
                &"as many channels are kept as disk_channels_max allows",
            ));
        }
        for (entry, bytes) in entries.iter().zip(encoded) {
            self.bytes += cost(channel, bytes.len());
            self.entries
                .insert((channel, entry.cursor.seq), bytes.as_slice())?;
        }
        if let Some(last) = entries.last() {
            let Cursor { epoch, seq, tag } = last.cursor;
            let row = (epoch, seq, tag, last.run.0);
            if self.heads.insert(channel, row)?.is_none() {
                self.bytes += cost(channel, HEAD_BYTES);
            }
        }
        Ok(BrokerReply::Appended)
    }

    /// A first part ends whatever else was begun: of one channel at most two snapshots have parts.
    fn put_part(
        &mut self,
        channel: &str,
        cursor: Cursor,
        part: u32,
        bytes: &[u8],
    ) -> Result<BrokerReply, StoreError> {
        if part == 0 {
            let newest = self.newest(channel)?.map(|name| name.cursor.tag);
            self.retain_parts(channel, newest)?;
        }
        let before = self.parts.insert((channel, cursor.tag, part), bytes)?;
        let before = before.map_or(0, |before| cost(channel, before.value().len()));
        self.bytes = (self.bytes + cost(channel, bytes.len())).saturating_sub(before);
        Ok(BrokerReply::PartStored)
    }

    /// Only forward, only on the same line, only whole.
    fn put_snapshot(
        &mut self,
        channel: &str,
        name: &SnapshotName,
        trim_through: u64,
    ) -> Result<BrokerReply, StoreError> {
        let cursor = name.cursor;
        let newest = self.newest(channel)?;
        let is_newer = newest.is_none_or(|newest| newest.cursor.seq < cursor.seq);
        // Rotten bytes count as another line: one channel's must not fail the others' transaction.
        let on_the_line = self
            .entries
            .get((channel, cursor.seq))?
            .is_some_and(|bytes| decode_entry(bytes.value()).is_ok_and(|e| e.cursor == cursor));
        if !is_newer || !on_the_line {
            return Ok(BrokerReply::SnapshotStored);
        }
        let here = (channel, cursor.tag, 0)..=(channel, cursor.tag, u32::MAX);
        let parts = self.parts.range(here)?;
        let numbers = parts.map(|part| part.map(|(key, _)| key.value().2));
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        if !numbers.iter().copied().eq(0..name.parts) {
            return Ok(BrokerReply::Conflict);
        }
        let Cursor { epoch, seq, tag } = cursor;
        self.snapshots
            .insert(channel, (epoch, seq, tag, name.parts, name.digest))?;
        self.retain_parts(channel, Some(cursor.tag))?;
        let through = trim_through.min(cursor.seq);
        let mut gone = 0;
        self.entries
            .retain_in((channel, 0)..=(channel, through), |_, entry| {
                gone += cost(channel, entry.len());
                false
            })?;
        self.bytes = self.bytes.saturating_sub(gone);
        Ok(BrokerReply::SnapshotStored)
    }

    /// Keeps the parts of one snapshot.
    fn retain_parts(&mut self, channel: &str, kept: Option<u64>) -> Result<(), StoreError> {
        let mut gone = 0;
        self.parts
            .retain_in(parts_of(channel), |(_, tag, _), part| {
                let is_kept = Some(tag) == kept;
                gone += if is_kept {
                    0
                } else {
                    cost(channel, part.len())
                };
                is_kept
            })?;
        self.bytes = self.bytes.saturating_sub(gone);
        Ok(())
    }

    fn newest(&self, channel: &str) -> Result<Option<SnapshotName>, StoreError> {
        let stored = self.snapshots.get(channel)?;
        Ok(stored.map(|stored| snapshot_name(stored.value())))
    }
}

/// What makes room, and what a channel cannot be read without: it has been opened before, and is again.
fn is_taken_at_limit(head: Cursor, entries: &[Arc<Entry>]) -> bool {
    entries.iter().all(|entry| match &entry.body {
        EntryBody::Deletion => true,
        EntryBody::Opening { .. } => {
            head.seq > 0 && entry.body.ops().is_none_or(|ops| ops.bytes().is_empty())
        }
        _ => false,
    })
}

fn snapshot_name((epoch, seq, tag, parts, digest): (u64, u64, u64, u32, [u8; 16])) -> SnapshotName {
    SnapshotName {
        cursor: Cursor::new(epoch, seq, tag),
        parts,
        digest,
    }
}

const fn parts_of(channel: &str) -> std::ops::RangeInclusive<(&str, u64, u32)> {
    (channel, 0, 0)..=(channel, u64::MAX, u32::MAX)
}

fn broken(dir: &Path) -> impl Fn(StoreError) -> OpenError {
    |source| OpenError::Database {
        dir: dir.into(),
        source: Box::new(source),
    }
}

/// Format and run id of a database; those of a new one, if it is one.
fn prepare(database: &Database, new_run: RunId) -> Result<(u64, RunId), StoreError> {
    let transaction = database.begin_write()?;
    let found = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get("format")?.map(|format| format.value());
        let run = meta.get("run")?.map(|run| run.value());
        match (format, run) {
            (Some(format), Some(run)) => (format, RunId(run)),
            _ => {
                meta.insert("format", FORMAT)?;
                meta.insert("run", new_run.0)?;
                (FORMAT, new_run)
            }
        }
    };
    if found.0 == FORMAT {
        transaction.open_table(ENTRIES)?;
        transaction.open_table(HEADS)?;
        transaction.open_table(SNAPSHOTS)?;
        transaction.open_table(PARTS)?;
    }
    transaction.commit()?;
    Ok(found)
}

/// Entries after a seq, as many as one reply takes, and whether there are more.
fn part(
    table: &impl ReadableTable<(&'static str, u64), &'static [u8]>,
    channel: &str,
    after: u64,
) -> Result<(Vec<Arc<Entry>>, bool), StoreError> {
    let first = after.saturating_add(1);
    let mut entries = Vec::new();
    let mut bytes = 0;
    for stored in table.range((channel, first)..=(channel, u64::MAX))? {
        let stored = stored?.1;
        bytes += stored.value().len();
        let is_full = entries.len() >= PART_ENTRIES_MAX || bytes > PART_BYTES_MAX;
        if is_full && !entries.is_empty() {
            return Ok((entries, true));
        }
        entries.push(Arc::new(decode_entry(stored.value())?));
    }
    Ok((entries, false))
}

/// What is stored in a medium that nobody has open, whatever it says of itself.
#[cfg(test)]
pub(super) fn recount(medium: &dyn Medium) -> u64 {
    let database = open(medium, &Arc::default(), Path::new("in memory"), 1 << 20).unwrap();
    stored_bytes(&database.begin_read().unwrap()).unwrap()
}

/// Makes a file look as if another version had written it.
#[cfg(test)]
pub(super) fn set_format(file: &Path, format: u64) {
    let database = Database::create(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert("format", format)
        .unwrap();
    transaction.commit().unwrap();
}
