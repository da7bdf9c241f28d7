//! The pending mutations of one channel, in call order, from the call until their outcome is stored.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{MutationHandle, MutationStatus};
use crate::wire::{Change, Precondition};

/// How many committed numbers are remembered to be told lost. Policy at the limit: the oldest is
/// forgotten; the application then learns of the loss by `history_lost` alone.
const COMMITTED_MAX: usize = 4096;

/// One pending mutation.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) handle: MutationHandle,
    /// Given by the store.
    pub(crate) n: Option<u64>,
    pub(crate) changes: Arc<[Change]>,
    pub(crate) preconditions: Vec<Precondition>,
    pub(crate) bytes: usize,
    pub(crate) status: MutationStatus,
    /// How often it was sent: an answer outside the log is about one copy, and others may be on their way.
    pub(crate) copies: u32,
    /// Decided, and waiting for the store to keep the outcome.
    pub(crate) settling: bool,
    /// The log lost it while the store was still keeping `committed`: `lost` has to follow.
    pub(crate) lost: bool,
}

/// All rows of one channel. Handles and numbers rise together.
#[derive(Debug, Default)]
pub(crate) struct MutationQueue {
    rows: VecDeque<Row>,
    bytes: usize,
    /// The highest number that the store gave.
    last_n: u64,
    /// Committed and gone from the outbox: candidates for `lost`.
    committed: BTreeMap<u64, MutationHandle>,
}

impl MutationQueue {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// `bytes`: of its item in a push.
    pub(crate) fn push(
        &mut self,
        handle: MutationHandle,
        changes: Arc<[Change]>,
        preconditions: Vec<Precondition>,
        bytes: usize,
    ) {
        self.bytes += bytes;
        self.rows.push_back(Row {
            handle,
            n: None,
            changes,
            preconditions,
            bytes,
            status: MutationStatus::Queued,
            copies: 0,
            settling: false,
            lost: false,
        });
    }

    /// The store gave a row its number.
    pub(crate) fn number(&mut self, handle: MutationHandle, n: u64) {
        self.last_n = self.last_n.max(n);
        if let Some(row) = self.by_handle(handle) {
            row.n = Some(n);
        }
    }

    /// The number of a row, if it is here and has one.
    pub(crate) fn number_of(&self, handle: MutationHandle) -> Option<u64> {
        let at = self.rows.partition_point(|row| row.handle < handle);
        self.rows.get(at).filter(|row| row.handle == handle)?.n
    }

    /// The lowest number still in the outbox, else the next one: what a push carries as `low`.
    pub(crate) fn low(&self) -> u64 {
        self.rows
            .iter()
            .find_map(|row| row.n)
            .unwrap_or(self.last_n + 1)
    }

    /// Undecided rows from number `n` on, in order.
    pub(crate) fn from(&self, n: u64) -> impl Iterator<Item = (u64, &Row)> {
        let start = self
            .rows
            .partition_point(|row| row.n.is_some_and(|m| m < n));
        self.rows
            .range(start..)
            .map_while(|row| row.n.map(|n| (n, row)))
            .filter(|(_, row)| !row.settling)
    }

    pub(crate) fn by_number(&mut self, n: u64) -> Option<&mut Row> {
        let at = self
            .rows
            .partition_point(|row| row.n.is_some_and(|m| m < n));
        self.rows.get_mut(at).filter(|row| row.n == Some(n))
    }

    pub(crate) fn by_handle(&mut self, handle: MutationHandle) -> Option<&mut Row> {
        let at = self.rows.partition_point(|row| row.handle < handle);
        self.rows.get_mut(at).filter(|row| row.handle == handle)
    }

    /// A row's outcome is stored: it leaves.
    pub(crate) fn remove(&mut self, handle: MutationHandle) -> Option<Row> {
        let at = self.rows.partition_point(|row| row.handle < handle);
        if self.rows.get(at)?.handle != handle {
            return None;
        }
        let row = self.rows.remove(at)?;
        self.bytes -= row.bytes;
        if let (MutationStatus::Committed, Some(n), false) = (&row.status, row.n, row.lost) {
            self.committed.insert(n, handle);
            if self.committed.len() > COMMITTED_MAX {
                self.committed.pop_first();
            }
        }
        Some(row)
    }

    /// Takes what was committed above `last` and stands in no outbox: a log that ends at `last` lost it.
    /// What the store is about to take out is marked, and follows once it has.
    pub(crate) fn take_lost(&mut self, last: u64) -> Vec<(u64, MutationHandle)> {
        for row in &mut self.rows {
            row.lost |= row.settling
                && row.status == MutationStatus::Committed
                && row.n.is_some_and(|n| n > last);
        }
        let lost = self.committed.split_off(&(last + 1));
        lost.into_iter().collect()
    }
}
