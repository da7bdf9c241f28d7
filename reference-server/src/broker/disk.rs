//! The embedded broker: every log in one redb file, synced before an append is answered.
//!
//! Invariant: what was answered survives the death of the process and of the machine; so the run id
//! lives beside the data and stays the same over any restart. Whoever puts an older copy back gives it a new
//! one (`DiskBroker::restore`); a database that was put back alone is found by its mark, and takes one itself.
//!
//! A disk that is full is waited for: what is there is read meanwhile, and once there is room it goes on
//! (`mending.rs`). After any other I/O error, a failed sync above all, nobody knows what the file holds: from
//! then on every request is answered `Failed` until the server is started again on it.
//!
//! One thread writes: everything that is queued when it turns round goes into one transaction and one
//! sync. Reads run on the runtime's blocking threads and see the last synced state.

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod full_tests;
mod mark;
mod medium;
mod mending;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tokio::sync::oneshot;

use self::mark::{Mark, MarkFile};
use self::medium::Directory;
use self::mending::Mending;
use self::store::{Store, StoreError, Write, WriteKind, refuse_other_formats};
use super::local::{CLOSED, Local};
use super::{
    Answer, Broker, BrokerReply, BrokerRequest, Inbox, Letter, Listed, NodeId, Room, RunId, Sent,
    Unavailable, Watch,
};
use crate::channel_pattern::ChannelPattern;
use crate::log::codec::encode_entry;

/// The file inside a data directory.
const FILE: &str = "tidewire.redb";

/// One transaction takes at most this many bytes of queued writes; the rest goes into the next one.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a disk broker takes of this process.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DiskBounds {
    /// Writes that may wait for the disk. At the limit a request is answered `Failed`: its channel backs off
    /// and tells its clients to `hold`.
    pub writes: usize,
    /// Bytes of the database's pages that are kept in memory. Channels keep what they serve; this is for loads.
    pub cache_bytes: usize,
}

impl Default for DiskBounds {
    fn default() -> Self {
        Self {
            writes: 512,
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {} is in use by another server: stop that one or choose another directory", .dir.display())]
    Locked {
        /// Which.
        dir: PathBuf,
    },
    /// It cannot be created or read.
    #[error("data directory {} cannot be used: {source}", .dir.display())]
    Io {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another version wrote it.
    #[error("data_dir = \"{}\": the directory has format {found}, this server reads format {expected} and converts nothing; run the version that wrote it, or name an empty directory", .dir.display())]
    Format {
        /// Which.
        dir: PathBuf,
        /// What it has.
        found: u64,
        /// What this version reads.
        expected: u64,
    },
    /// The database in it is broken.
    #[error("the database in {} cannot be opened: {source}", .dir.display())]
    Database {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Logs on disk.
#[derive(Debug)]
pub struct DiskBroker {
    run: RunId,
    store: Arc<Store>,
    /// Other processes cannot open the file.
    local: Arc<Local>,
    queue: Option<Queue>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer has to do.
#[derive(Debug)]
enum Job {
    Write(Queued),
    /// Nothing comes after it.
    End(oneshot::Sender<()>),
}

/// A write, and who waits for it.
#[derive(Debug)]
struct Queued {
    write: Write,
    answer: oneshot::Sender<BrokerReply>,
}

impl DiskBroker {
    /// Opens a data directory, or makes one. `new_run` is the run id of a new one: 64 random bits.
    ///
    /// Blocks while a file that was not closed cleanly is checked.
    pub fn open(dir: &Path, new_run: RunId) -> Result<Self, OpenError> {
        Self::open_with(dir, new_run, DiskBounds::default())
    }

    /// The same with other bounds.
    pub fn open_with(dir: &Path, new_run: RunId, bounds: DiskBounds) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            dir: dir.into(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        refuse_other_formats(dir)?;
        let medium = Arc::new(Directory::new(dir));
        let mut store = Store::new(medium, dir, new_run, bounds.cache_bytes)?;
        let older = Mark::read(dir).filter(|mark| mark.is_ahead_of(store.run(), store.life()));
        if older.is_some() {
            tracing::warn!(
                dir = %dir.display(),
                "the database is older than this directory's mark says: it takes a new run id, clients that \
                 have seen more hear history_lost"
            );
            store.set_run(dir, new_run)?;
        }
        store.mark(MarkFile::open(dir).map_err(io)?);
        let broker = Self::start(store, bounds.writes, mending::LOOK_AGAIN).map_err(io)?;
        sync_names(dir).map_err(io)?;
        Ok(broker)
    }

    /// Gives a copied directory a new run id, `new_run`: what its logs had after the copy was made is lost, and
    /// nodes and clients must be able to tell. Nothing else may have it open. Returns the old one.
    pub fn restore(dir: &Path, new_run: RunId) -> Result<RunId, OpenError> {
        let file = dir.join(FILE);
        // A mistyped name must not become a new, empty directory.
        std::fs::metadata(&file).map_err(|source| OpenError::Io {
            dir: dir.into(),
            source,
        })?;
        refuse_other_formats(dir)?;
        let medium = Arc::new(Directory::new(dir));
        let mut store = Store::new(medium, dir, new_run, DiskBounds::default().cache_bytes)?;
        let old = store.run();
        store.set_run(dir, new_run)?;
        let mark = MarkFile::open(dir).map_err(|source| OpenError::Io {
            dir: dir.into(),
            source,
        })?;
        store.mark(mark);
        Ok(old)
    }

    /// Bounds the number of channels that it keeps; without it, whoever may open channels may fill the disk.
    /// Policy at the limit: channels that are there go on, a further one is not opened. Of those that begin at
    /// the same moment, the appends of some are refused; their clients are told when they ask again.
    #[must_use]
    pub fn with_channels_max(self, channels_max: u64) -> Self {
        self.store.set_channels_max(channels_max);
        self
    }

    /// Which life of its data this is.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// Bounds what is stored, in bytes of entries and snapshots; the file is larger, and never shrinks. Policy at
    /// the limit: what is there is read, deletions and snapshots are written, appends are not: pushes wait
    /// at their clients, and no channel begins. Snapshots may take it beyond, by one for each channel.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: u64) -> Self {
        self.store.set_bytes_max(bytes_max);
        self
    }

    /// How many transactions were synced since it was opened. Writes that wait for the disk at the same
    /// time share one: appends divided by this say how many did.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.store.transactions()
    }

    /// `writes` may wait; it is looked every `look_again` whether a full disk has room.
    fn start(store: Store, writes: usize, look_again: Duration) -> std::io::Result<Self> {
        let store = Arc::new(store);
        let local = Arc::new(Local::default());
        let (queue, queued) = mpsc::sync_channel(writes);
        let writer = std::thread::Builder::new()
            .name("tidewire-disk".into())
            .spawn({
                let store = store.clone();
                let local = local.clone();
                move || write_all(&store, &local, &queued, Mending::new(look_again))
            })?;
        Ok(Self {
            run: store.run(),
            store,
            local,
            queue: Some(Queue(queue)),
            writer: Some(writer),
        })
    }

    /// A read, away from the threads that serve connections.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<Result<T, Unavailable>> {
        if let Err(closed) = self.local.open() {
            return Answer::Ready(Err(closed));
        }
        let store = self.store.clone();
        Answer::later(async move {
            match tokio::task::spawn_blocking(move || read(&store)).await {
                Ok(read) => read.map_err(|error| unavailable(&error)),
                Err(error) => Err(unavailable(&error)),
            }
        })
    }

    /// The same of one log.
    fn read_log(
        &self,
        read: impl FnOnce(&Store) -> Result<BrokerReply, StoreError> + Send + 'static,
    ) -> Answer<BrokerReply> {
        let read = self.read(read);
        Answer::later(async move {
            let failed = |error: Unavailable| BrokerReply::Failed {
                detail: error.detail,
            };
            read.await.unwrap_or_else(failed)
        })
    }

    /// Queues a write; the place in the queue is taken before this returns.
    fn write(&self, channel: ChannelName, kind: WriteKind) -> Answer<BrokerReply> {
        let answered = self.queue.as_ref().map(|queue| queue.write(channel, kind));
        Answer::later(async move {
            match answered {
                Some(answered) => answered.await,
                None => failed(&CLOSED),
            }
        })
    }
}

/// The way to the writer.
#[derive(Clone, Debug)]
struct Queue(mpsc::SyncSender<Job>);

impl Queue {
    fn write(
        &self,
        channel: ChannelName,
        kind: WriteKind,
    ) -> impl Future<Output = BrokerReply> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let write = Write { channel, kind };
        let refused = match self.0.try_send(Job::Write(Queued { write, answer })) {
            Ok(()) => None,
            Err(mpsc::TrySendError::Full(_)) => Some("too many writes wait for the disk"),
            Err(mpsc::TrySendError::Disconnected(_)) => Some(CLOSED),
        };
        async move {
            match refused {
                Some(why) => failed(&why),
                None => answered.await.unwrap_or_else(|_| failed(&CLOSED)),
            }
        }
    }
}

impl Broker for DiskBroker {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer<BrokerReply> {
        let name = channel.clone();
        match request {
            BrokerRequest::Load => self.read_log(move |store| store.load(&name)),
            BrokerRequest::Read { after } => self.read_log(move |store| store.read(&name, after)),
            BrokerRequest::Append { expected, entries } => {
                let encoded = entries.iter().map(|entry| encode_entry(entry)).collect();
                self.write(
                    name,
                    WriteKind::Append {
                        expected,
                        entries,
                        encoded,
                    },
                )
            }
            BrokerRequest::PutPart {
                cursor,
                part,
                bytes,
            } => self.write(
                name,
                WriteKind::PutPart {
                    cursor,
                    part,
                    bytes,
                },
            ),
            BrokerRequest::PutSnapshot {
                snapshot,
                trim_through,
            } => self.write(
                name,
                WriteKind::PutSnapshot {
                    snapshot,
                    trim_through,
                },
            ),
        }
    }

    fn watch(&self, channels: &ChannelPattern) -> Watch {
        self.local.watch(channels)
    }

    /// Looks at the disk only when there is no place for another one.
    fn has_room(&self, channel: &ChannelName) -> bool {
        let may_begin = !self.store.has_all_channels() && self.room() == Room::Free;
        may_begin || self.store.has(channel)
    }

    fn room(&self) -> Room {
        let condition = self.store.condition();
        if condition.is_broken() {
            Room::Broken("the disk has failed: see to it, then start the server again")
        } else if condition.is_full() {
            Room::Broken("the disk is full: make room, the server goes on by itself")
        } else if self.store.is_at_limit() {
            Room::Limit
        } else {
            Room::Free
        }
    }

    fn stored_bytes(&self) -> Option<u64> {
        Some(self.store.bytes())
    }

    fn publish(&self, channel: &ChannelName, message: Bytes) -> Answer<Result<(), Unavailable>> {
        self.local.publish(channel, &message)
    }

    fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>> {
        self.local.inbox(node)
    }

    fn send(&self, node: NodeId, letter: Letter) -> Answer<Result<Sent, Unavailable>> {
        self.local.send(node, letter)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Answer<Result<Listed, Unavailable>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.read(move |store| store.list(&prefix, after.as_ref(), limit.max(1)))
    }

    fn health(&self) -> Answer<Result<(), Unavailable>> {
        if let Room::Broken(why) = self.room() {
            return Answer::Ready(Err(unavailable(&why)));
        }
        self.read(Store::health)
    }

    fn close(&self) -> Answer<()> {
        self.local.close();
        let Some(Queue(queue)) = self.queue.clone() else {
            return Answer::Ready(());
        };
        let (ended, end) = oneshot::channel();
        Answer::later(async move {
            // The queue may be full: its place is behind what waits, on a thread that may.
            let _ = tokio::task::spawn_blocking(move || queue.send(Job::End(ended))).await;
            // An error: it has ended already.
            let _ = end.await;
        })
    }
}

impl Drop for DiskBroker {
    /// Writes what is queued, then lets the file go.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// The writer's loop: one transaction per turn, with everything that waits.
fn write_all(store: &Store, local: &Local, queued: &mpsc::Receiver<Job>, mut mending: Mending) {
    while let Some(job) = mending.next(store, queued) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(job);
        let end = loop {
            match next {
                Some(Job::Write(queued)) => {
                    bytes += queued.write.bytes();
                    batch.push(queued);
                }
                Some(Job::End(ended)) => break Some(ended),
                None => break None,
            }
            if bytes >= BATCH_BYTES_MAX {
                break None;
            }
            next = queued.try_recv().ok();
        };
        write_batch(store, local, &mut mending, batch);
        if let Some(ended) = end {
            // Whoever asked may have gone.
            let _ = ended.send(());
            return;
        }
    }
}

fn write_batch(store: &Store, local: &Local, mending: &mut Mending, batch: Vec<Queued>) {
    if batch.is_empty() {
        return;
    }
    let replies = match mending.write(store, batch.iter().map(|queued| &queued.write)) {
        Ok(replies) => replies,
        // Nothing of the transaction happened, or nobody knows: every channel reads before it goes on.
        Err(error) => batch.iter().map(|_| failed(&error)).collect(),
    };
    for (Queued { write, answer }, reply) in batch.into_iter().zip(replies) {
        if let (
            BrokerReply::Appended,
            WriteKind::Append {
                expected, entries, ..
            },
        ) = (&reply, &write.kind)
            && let Some(last) = entries.last()
        {
            local.grown(&write.channel, expected.seq, last.cursor.seq);
        }
        // Whoever asked may have gone.
        let _ = answer.send(reply);
    }
}

/// Makes the names of a new file and a new directory durable.
#[cfg(unix)]
fn sync_names(dir: &Path) -> std::io::Result<()> {
    let absolute = std::path::absolute(dir)?;
    for dir in absolute.ancestors().take(2) {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Elsewhere directories cannot be synced; the file system is trusted with names.
#[cfg(not(unix))]
fn sync_names(_dir: &Path) -> std::io::Result<()> {
    Ok(())
}

fn unavailable(why: &dyn std::fmt::Display) -> Unavailable {
    let detail = why.to_string();
    Unavailable { detail }
}

fn failed(why: &dyn std::fmt::Display) -> BrokerReply {
    BrokerReply::Failed {
        detail: why.to_string(),
    }
}
