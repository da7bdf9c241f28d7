//! A disk that was full, and has room again.
//!
//! Policy: from the write that found no room on nothing is written, and what is on the disk is read, until
//! a file of that size could be written beside it. The run id stays: nothing that was answered is lost.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::store::{Store, StoreError, Write};
use crate::log::BrokerReply;

/// How often it is looked whether there is room.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// There has to be room for what could not be written and its way through the tables, and for this.
const SPARE_BYTES: usize = 1024 * 1024;

/// What the writer knows of a full disk.
#[derive(Debug)]
pub(super) struct Mending {
    every: Duration,
    look_at: Option<Instant>,
    /// What could not be written.
    bytes: usize,
}

impl Mending {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            look_at: None,
            bytes: 0,
        }
    }

    /// The next job; looks for room in between. `None`: there will be none.
    pub(super) fn next<T>(&mut self, store: &Store, jobs: &mpsc::Receiver<T>) -> Option<T> {
        loop {
            let Some(at) = self.look_at else {
                return jobs.recv().ok();
            };
            let left = at.saturating_duration_since(Instant::now());
            match jobs.recv_timeout(left) {
                // Whoever asks all the time must not keep it from looking.
                Ok(job) if !left.is_zero() => return Some(job),
                Ok(job) => {
                    self.look(store);
                    return Some(job);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => self.look(store),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Writes, unless the disk is full.
    pub(super) fn write<'a>(
        &mut self,
        store: &Store,
        writes: impl Iterator<Item = &'a Write> + Clone,
    ) -> Result<Vec<BrokerReply>, StoreError> {
        if self.look_at.is_some() {
            return Err(StoreError::DiskFull);
        }
        let result = store.write(writes.clone());
        if let Err(error) = &result
            && store.condition().is_full()
        {
            self.bytes = writes.map(Write::bytes).sum();
            self.look_at = Some(Instant::now() + self.every);
            tracing::error!(%error, "the disk is full: nothing is written until there is room");
            // For those who read. It may need room itself, and is tried again then.
            if let Err(error) = store.reopen() {
                tracing::warn!(%error, "the database cannot be opened on a full disk");
            }
        }
        result
    }

    fn look(&mut self, store: &Store) {
        let room = store.try_room(2 * self.bytes + SPARE_BYTES);
        self.look_at = match room {
            Ok(()) => None,
            Err(_) if store.condition().is_broken() => None,
            Err(_) => Some(Instant::now() + self.every),
        };
        if room.is_ok() {
            tracing::info!("the disk has room again");
        }
    }
}
