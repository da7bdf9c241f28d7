//! The pending mutations of one channel, in call order, from the call until their outcome is stored.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{MutateOptions, MutationHandle, MutationStatus};
use crate::planted;
use crate::time::UnixTime;
use crate::wire::Change;

/// What an item without changes takes in a push, at most.
const NOOP_BYTES: usize = 64;

/// How many numbers a row may be sent ahead of an undecided one that it comes after. Policy at the limit:
/// it waits for that decision. The refusal has to stay listed at the server until both are decided, and
/// of those it lists 64.
const AHEAD_MAX: u64 = 32;

/// One pending mutation.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) handle: MutationHandle,
    /// Given by the store.
    pub(crate) n: Option<u64>,
    pub(crate) changes: Arc<[Change]>,
    pub(crate) options: Arc<MutateOptions>,
    pub(crate) bytes: usize,
    pub(crate) status: MutationStatus,
    pub(crate) stage: Stage,
    /// Ended before it was sent: its number is still pushed, without changes.
    pub(crate) noop: bool,
    /// A no-op whose outcome is stored and was told: only its number has a way to go.
    pub(crate) told: bool,
    /// How often it was sent: an answer outside the log is about one copy, and others may be on their way.
    pub(crate) copies: u32,
    /// Server time; frozen with the first send, before that only if there is a `ttl`.
    pub(crate) deadline: Option<UnixTime>,
    /// The number of the mutation that it comes after, frozen with the first send; 0 = none.
    pub(crate) after: u64,
    /// What happened to it while the store was still keeping `committed`, and has to follow.
    pub(crate) follows: Option<MutationStatus>,
}

/// How far a row has come between here, its store and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The store knows of no send, so there was none: it can still become a no-op.
    Unsent,
    /// The store is writing what must stand there before anything is sent.
    Storing,
    /// It may have been sent.
    Attempted,
    /// Decided, and waiting for the store to keep the outcome.
    Settling,
}

/// All rows of one channel. Handles and numbers rise together.
#[derive(Debug, Default)]
pub(crate) struct MutationQueue {
    rows: VecDeque<Row>,
    bytes: usize,
    /// The highest number that the store gave.
    last_n: u64,
    /// Unsent rows that end at a moment of their own, the earliest last.
    expiring: Vec<Reverse<(UnixTime, MutationHandle)>>,
    /// The newest unsent row of each key, sorted by key.
    coalescing: Vec<(Arc<str>, MutationHandle)>,
    /// How many rows come after another one.
    dependents: usize,
}

impl MutationQueue {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many have no stored outcome.
    pub(crate) fn undecided(&self) -> usize {
        self.rows.iter().filter(|row| !row.told).count()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a row, `bytes` of an item in a push, and gives back the unsent one that it makes superfluous.
    pub(crate) fn push(
        &mut self,
        handle: MutationHandle,
        changes: Arc<[Change]>,
        options: Arc<MutateOptions>,
        deadline: Option<UnixTime>,
        bytes: usize,
    ) -> Option<MutationHandle> {
        self.bytes += bytes;
        if let Some(at) = deadline {
            self.expire_at(at, handle);
        }
        self.dependents += usize::from(options.after.is_some());
        let key = options.coalesce_key.clone();
        self.rows.push_back(Row {
            handle,
            n: None,
            changes,
            options,
            bytes,
            status: MutationStatus::Queued,
            stage: Stage::Unsent,
            noop: false,
            told: false,
            copies: 0,
            deadline,
            after: 0,
            follows: None,
        });
        let key = key?;
        match self.coalescing.binary_search_by(|(of, _)| of.cmp(&key)) {
            Ok(_) if planted!(CoalescingKeepsOldest) => Some(handle),
            Ok(at) => Some(std::mem::replace(&mut self.coalescing[at].1, handle)),
            Err(at) => {
                self.coalescing.insert(at, (key, handle));
                None
            }
        }
    }

    fn expire_at(&mut self, at: UnixTime, handle: MutationHandle) {
        let entry = Reverse((at, handle));
        let place = self.expiring.partition_point(|other| *other < entry);
        self.expiring.insert(place, entry);
    }

    /// The store gave a row its number.
    pub(crate) fn number(&mut self, handle: MutationHandle, n: u64) {
        self.last_n = self.last_n.max(n);
        if let Some(row) = self.by_handle(handle) {
            row.n = Some(n);
        }
    }

    /// A row, if it is here.
    pub(crate) fn row(&self, handle: MutationHandle) -> Option<&Row> {
        let at = self.rows.partition_point(|row| row.handle < handle);
        self.rows.get(at).filter(|row| row.handle == handle)
    }

    /// What a push carries as `low`: the lowest number still in the outbox, else the next one.
    ///
    /// A row that was sent to come after a refused one still needs that refusal at the server, so `low`
    /// stays at or below it, unless numbers are missing up to the first row: those close only by `low`.
    pub(crate) fn low(&self, known_last: u64) -> u64 {
        if planted!(LowNotRaised) {
            return 1;
        }
        let first = self.rows.iter().find_map(|row| row.n);
        let first = first.unwrap_or(self.last_n + 1);
        if self.dependents == 0 || first > known_last + 1 {
            return first;
        }
        let after = self.rows.iter().map(|row| row.after);
        let lowest = after.filter(|&n| n > 0 && n <= known_last).min();
        lowest.map_or(first, |n| n.min(first))
    }

    /// Undecided rows from number `n` on, in order.
    pub(crate) fn from(&self, n: u64) -> impl Iterator<Item = (u64, &Row)> {
        let start = self
            .rows
            .partition_point(|row| row.n.is_some_and(|m| m < n));
        self.rows
            .range(start..)
            .map_while(|row| row.n.map(|n| (n, row)))
            .filter(|(_, row)| row.stage != Stage::Settling)
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

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut()
    }

    /// The earliest end of an unsent row.
    pub(crate) fn next_expiry(&self) -> Option<UnixTime> {
        self.expiring.last().map(|Reverse((at, _))| *at)
    }

    /// Takes an unsent row whose time is over.
    pub(crate) fn take_expired(&mut self, server_now: UnixTime) -> Option<MutationHandle> {
        let &Reverse((at, handle)) = self.expiring.last()?;
        // At its deadline the server would still take it.
        if at >= server_now {
            return None;
        }
        self.expiring.pop();
        Some(handle)
    }

    /// The clock that deadlines of unsent rows were read from was off by so many ms.
    pub(crate) fn shift_deadlines(&mut self, ms: i64) {
        for Reverse((at, handle)) in std::mem::take(&mut self.expiring) {
            let at = UnixTime(at.0.saturating_add_signed(ms));
            self.expire_at(at, handle);
            if let Some(row) = self.by_handle(handle) {
                row.deadline = Some(at);
            }
        }
    }

    /// Freezes what the first send says: a deadline at most at `latest`, and what the row comes after.
    pub(crate) fn freeze(&mut self, handle: MutationHandle, latest: UnixTime) -> Option<UnixTime> {
        let after = self.row(handle)?.options.after;
        // One that has left the outbox was committed: otherwise this one would be a no-op.
        let after = after.and_then(|after| self.row(after)?.n).unwrap_or(0);
        let after = if planted!(DependencyNotSent) {
            0
        } else {
            after
        };
        self.leave_unsent(handle);
        let row = self.by_handle(handle)?;
        let deadline = row.deadline.map_or(latest, |at| at.min(latest));
        row.deadline = Some(deadline);
        row.after = after;
        row.stage = Stage::Storing;
        Some(deadline)
    }

    /// Makes an unsent row a no-op that ends as `status`; `false` if it is not unsent.
    pub(crate) fn neutralise(&mut self, handle: MutationHandle, status: MutationStatus) -> bool {
        self.leave_unsent(handle);
        let unsent = |row: &&mut Row| {
            let is_unsent = row.stage == Stage::Unsent || planted!(SentRowTakenBack);
            is_unsent && !row.noop
        };
        let Some(row) = self.by_handle(handle).filter(unsent) else {
            return false;
        };
        row.noop = true;
        row.stage = Stage::Storing;
        row.status = status;
        row.changes = Arc::default();
        let bytes = row.bytes.saturating_sub(NOOP_BYTES);
        row.bytes -= bytes;
        self.bytes -= bytes;
        true
    }

    /// Whether an unsent row has to wait for the decision about the one that it comes after.
    pub(crate) fn waits(&self, n: u64, row: &Row) -> bool {
        let first = row.options.after.and_then(|after| self.row(after));
        let open = first.filter(|first| first.stage != Stage::Settling);
        open.and_then(|first| first.n)
            .is_some_and(|first| n - first > AHEAD_MAX)
    }

    /// The unsent rows that come directly after this one.
    pub(crate) fn unsent_after(&self, handle: MutationHandle) -> Vec<MutationHandle> {
        if self.dependents == 0 {
            return Vec::new();
        }
        let rows = self.rows.iter();
        rows.filter(|row| row.options.after == Some(handle))
            .filter(|row| row.stage == Stage::Unsent && !row.noop)
            .map(|row| row.handle)
            .collect()
    }

    /// A row's outcome is stored: it leaves.
    pub(crate) fn remove(&mut self, handle: MutationHandle) -> Option<Row> {
        self.leave_unsent(handle);
        let at = self.rows.partition_point(|row| row.handle < handle);
        if self.rows.get(at)?.handle != handle {
            return None;
        }
        let row = self.rows.remove(at)?;
        self.bytes -= row.bytes;
        self.dependents -= usize::from(row.options.after.is_some());
        Some(row)
    }

    /// Forgets what is kept of unsent rows only.
    fn leave_unsent(&mut self, handle: MutationHandle) {
        let Some(row) = self.row(handle) else { return };
        let (deadline, options) = (row.deadline, Arc::clone(&row.options));
        if let Some(at) = deadline
            && let Ok(place) = self.expiring.binary_search(&Reverse((at, handle)))
        {
            self.expiring.remove(place);
        }
        if let Some(key) = &options.coalesce_key
            && let Ok(place) = self.coalescing.binary_search_by(|(of, _)| of.cmp(key))
            && self.coalescing[place].1 == handle
        {
            self.coalescing.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(options: impl IntoIterator<Item = MutateOptions>) -> MutationQueue {
        let mut queue = MutationQueue::default();
        for (n, options) in (1..).zip(options) {
            let deadline = options.ttl.map(|ttl| UnixTime(ttl.as_millis() as u64));
            let handle = MutationHandle(n);
            queue.push(handle, Arc::default(), Arc::new(options), deadline, 100);
            queue.number(handle, n);
        }
        queue
    }

    fn after(n: u64) -> MutateOptions {
        MutateOptions {
            after: Some(MutationHandle(n)),
            ..MutateOptions::default()
        }
    }

    fn ttl(ms: u64) -> MutateOptions {
        MutateOptions {
            ttl: Some(std::time::Duration::from_millis(ms)),
            ..MutateOptions::default()
        }
    }

    fn key(key: &str) -> MutateOptions {
        MutateOptions {
            coalesce_key: Some(key.into()),
            ..MutateOptions::default()
        }
    }

    #[test]
    fn low_is_the_lowest_number_in_the_outbox_else_the_next() {
        let mut queue = queue([MutateOptions::default(), MutateOptions::default()]);
        assert_eq!(queue.low(0), 1);
        queue.remove(MutationHandle(1));
        assert_eq!(queue.low(1), 2);
        queue.remove(MutationHandle(2));
        assert_eq!(queue.low(2), 3);
    }

    #[test]
    fn low_keeps_the_refusal_that_a_sent_row_depends_on() {
        let mut queue = queue([MutateOptions::default(), MutateOptions::default(), after(1)]);
        queue.freeze(MutationHandle(3), UnixTime(9));
        queue.remove(MutationHandle(1));
        assert_eq!(queue.low(1), 1);
        queue.remove(MutationHandle(2));
        assert_eq!(queue.low(2), 1);
        assert_eq!(
            queue.low(1),
            3,
            "numbers are missing: only `low` closes that"
        );
        queue.remove(MutationHandle(3));
        assert_eq!(queue.low(3), 4);
    }

    #[test]
    fn unsent_rows_expire_in_order_of_their_deadlines_and_sent_ones_never() {
        let mut queue = queue([ttl(30), ttl(10), ttl(20), ttl(40)]);
        assert_eq!(queue.next_expiry(), Some(UnixTime(10)));
        assert_eq!(
            queue.freeze(MutationHandle(1), UnixTime(90)),
            Some(UnixTime(30))
        );
        assert_eq!(
            queue.freeze(MutationHandle(4), UnixTime(25)),
            Some(UnixTime(25))
        );
        queue.shift_deadlines(5);
        assert_eq!(
            queue.take_expired(UnixTime(15)),
            None,
            "at its deadline it is good"
        );
        assert_eq!(queue.take_expired(UnixTime(99)), Some(MutationHandle(2)));
        assert_eq!(queue.take_expired(UnixTime(99)), Some(MutationHandle(3)));
        assert_eq!(queue.take_expired(UnixTime(99)), None);
    }

    #[test]
    fn a_newer_row_of_the_same_key_makes_only_an_unsent_one_superfluous() {
        let mut queue = queue([key("a"), key("b")]);
        let push = |queue: &mut MutationQueue, n| {
            queue.push(
                MutationHandle(n),
                Arc::default(),
                Arc::new(key("a")),
                None,
                100,
            )
        };
        assert_eq!(push(&mut queue, 3), Some(MutationHandle(1)));
        assert_eq!(push(&mut queue, 4), Some(MutationHandle(3)));
        queue.freeze(MutationHandle(4), UnixTime(9));
        assert_eq!(push(&mut queue, 5), None, "the last one is on its way");
        queue.remove(MutationHandle(5));
        assert_eq!(push(&mut queue, 6), None, "the last one is gone");
    }

    #[test]
    fn a_no_op_keeps_its_number_and_gives_its_bytes_back() {
        let mut queue = queue([MutateOptions::default()]);
        let before = queue.bytes();
        assert!(queue.neutralise(MutationHandle(1), MutationStatus::Cancelled));
        assert!(!queue.neutralise(MutationHandle(1), MutationStatus::Expired));
        assert!(queue.bytes() < before);
        assert_eq!((queue.len(), queue.low(0)), (1, 1));
        assert_eq!(
            queue.row(MutationHandle(1)).unwrap().status,
            MutationStatus::Cancelled
        );
        queue.remove(MutationHandle(1));
        assert_eq!(queue.bytes(), 0);
    }
}
