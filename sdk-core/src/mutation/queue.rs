//! The pending mutations of one channel, by number and then in call order, from the call until their
//! outcome is stored; also those of other sessions on the same store.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use super::outbox::AHEAD_MAX;
use super::{MutateOptions, MutationHandle, MutationStatus};
use crate::planted;
use crate::time::UnixTime;

/// What an item without changes takes in a push, at most.
const NOOP_BYTES: usize = 64;

/// One pending mutation.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) handle: MutationHandle,
    /// Given by the store.
    pub(crate) n: Option<u64>,
    /// Changes and preconditions, encoded. From the first send on as the store has it.
    pub(crate) item: Bytes,
    pub(crate) bytes: usize,
    pub(crate) status: MutationStatus,
    pub(crate) stage: Stage,
    /// The store was asked to write it.
    pub(crate) asked: bool,
    /// Ended before it was sent: its number is still pushed, without changes.
    pub(crate) noop: bool,
    /// It is to become a no-op, and the store has not said yet that it is one.
    pub(crate) ending: bool,
    /// The store knows of a send, by this session or another one.
    pub(crate) marked: bool,
    /// It was to be sent, and is in the store no more: another session has seen how it was decided.
    pub(crate) gone: bool,
    /// As committed.
    pub(crate) seen_committed: bool,
    /// How often it was sent here: an answer outside the log is about one copy, and others may be on
    /// their way.
    pub(crate) copies: u32,
    /// How often the store was asked here to count an attempt.
    pub(crate) attempts: u32,
    /// Server time; frozen with the first send, before that only if there is a `ttl`.
    pub(crate) deadline: Option<UnixTime>,
    /// The mutation that it comes after, while that is pending.
    pub(crate) after: Option<MutationHandle>,
    /// The number of the mutation that it comes after, as the store has it; 0 = none.
    pub(crate) after_n: u64,
    coalesce_key: Option<Arc<str>>,
    /// How it was decided while the store had not said yet whether it is a no-op.
    pub(crate) follows: Option<MutationStatus>,
}

/// How far a row has come between here, its store and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// This session has not sent it, and the store was not asked to mark it for that.
    Unsent,
    /// The store is writing what must stand there before anything is sent.
    Storing,
    /// This session may send it.
    Attempted,
    /// Decided, and waiting for the store to keep the outcome.
    Settling,
}

impl Row {
    fn new(handle: MutationHandle, item: Bytes, bytes: usize) -> Self {
        Self {
            handle,
            n: None,
            item,
            bytes,
            status: MutationStatus::Queued,
            stage: Stage::Unsent,
            asked: false,
            noop: false,
            ending: false,
            marked: false,
            gone: false,
            seen_committed: false,
            copies: 0,
            attempts: 0,
            deadline: None,
            after: None,
            after_n: 0,
            coalesce_key: None,
            follows: None,
        }
    }

    /// Nobody has sent it, as far as is known here: it can still become a no-op.
    pub(crate) fn is_unsent(&self) -> bool {
        self.stage == Stage::Unsent && !self.marked && !self.noop
    }

    /// Where it stands among the others in the view.
    pub(crate) fn place(&self) -> u64 {
        self.n.unwrap_or_else(|| fresh_place(self.handle))
    }
}

/// What has no number yet stands above all that has one, in call order.
pub(crate) const fn fresh_place(handle: MutationHandle) -> u64 {
    (1 << 60) + handle.0
}

/// All rows of one channel: those with a number by number, then the others in call order.
#[derive(Debug, Default)]
pub(crate) struct MutationQueue {
    rows: VecDeque<Row>,
    bytes: usize,
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
        let is_told = |row: &&Row| row.noop && !row.ending && row.n.is_some();
        self.rows.len() - self.rows.iter().filter(is_told).count()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a new row, `bytes` of an item in a push, and gives back the unsent one that it makes
    /// superfluous.
    pub(crate) fn push(
        &mut self,
        handle: MutationHandle,
        item: Bytes,
        options: &MutateOptions,
        deadline: Option<UnixTime>,
        bytes: usize,
    ) -> Option<MutationHandle> {
        if let Some(at) = deadline {
            self.expire_at(at, handle);
        }
        let key = options.coalesce_key.clone();
        self.add(Row {
            deadline,
            after: options.after,
            coalesce_key: key.clone(),
            ..Row::new(handle, item, bytes)
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

    /// Takes a row that the store had, whoever made it.
    pub(crate) fn push_stored(
        &mut self,
        handle: MutationHandle,
        n: u64,
        after_n: u64,
        bytes: usize,
    ) -> &mut Row {
        let after = self.number_of(after_n);
        let at = self.add(Row {
            n: Some(n),
            asked: true,
            after,
            after_n,
            ..Row::new(handle, Bytes::new(), bytes)
        });
        &mut self.rows[at]
    }

    fn add(&mut self, row: Row) -> usize {
        self.bytes += row.bytes;
        self.dependents += usize::from(row.after.is_some());
        let place = row.place();
        let at = self.rows.partition_point(|other| other.place() < place);
        self.rows.insert(at, row);
        at
    }

    fn expire_at(&mut self, at: UnixTime, handle: MutationHandle) {
        let entry = Reverse((at, handle));
        let place = self.expiring.partition_point(|other| *other < entry);
        self.expiring.insert(place, entry);
    }

    /// The first row that the store has not been asked to write.
    pub(crate) fn fresh(&self) -> Option<&Row> {
        let is_asked = |row: &Row| row.n.is_some() || row.asked;
        self.rows.get(self.rows.partition_point(is_asked))
    }

    /// The store gave a row its number; `true`: it stands elsewhere among the others now.
    pub(crate) fn number(&mut self, handle: MutationHandle, n: u64) -> bool {
        let Some(at) = self.at(handle) else {
            return false;
        };
        self.rows[at].n = Some(n);
        let is_first = at
            .checked_sub(1)
            .is_none_or(|before| self.rows[before].n.is_some_and(|m| m < n));
        if !is_first && let Some(row) = self.rows.remove(at) {
            let at = self.rows.partition_point(|other| other.place() < n);
            self.rows.insert(at, row);
        }
        !is_first
    }

    /// The store says what a row comes after; 0: nothing any more.
    pub(crate) fn comes_after(&mut self, n: u64, after_n: u64) {
        let after = self.number_of(after_n);
        let Some(at) = self.place_of(n) else { return };
        let row = &mut self.rows[at];
        row.after_n = after_n;
        if row.after.is_none() && after.is_some() {
            // Whose row became known only now.
            row.after = after;
            self.dependents += 1;
        }
    }

    fn number_of(&self, n: u64) -> Option<MutationHandle> {
        self.place_of(n).map(|at| self.rows[at].handle)
    }

    fn place_of(&self, n: u64) -> Option<usize> {
        let at = self.rows.partition_point(|row| row.place() < n);
        (self.rows.get(at)?.n == Some(n)).then_some(at)
    }

    /// Handles rise with the places, unless another session's rows have come in between.
    fn at(&self, handle: MutationHandle) -> Option<usize> {
        let at = self.rows.partition_point(|row| row.handle < handle);
        if self.rows.get(at).is_some_and(|row| row.handle == handle) {
            return Some(at);
        }
        self.rows.iter().position(|row| row.handle == handle)
    }

    /// A row, if it is here.
    pub(crate) fn row(&self, handle: MutationHandle) -> Option<&Row> {
        self.at(handle).map(|at| &self.rows[at])
    }

    /// Undecided rows from number `n` on, in order.
    pub(crate) fn from(&self, n: u64) -> impl Iterator<Item = (u64, &Row)> {
        let start = self.rows.partition_point(|row| row.place() < n);
        self.rows
            .range(start..)
            .map_while(|row| row.n.map(|n| (n, row)))
            .filter(|(_, row)| row.stage != Stage::Settling)
    }

    pub(crate) fn by_number(&mut self, n: u64) -> Option<&mut Row> {
        self.place_of(n).map(|at| &mut self.rows[at])
    }

    pub(crate) fn by_handle(&mut self, handle: MutationHandle) -> Option<&mut Row> {
        self.at(handle).map(|at| &mut self.rows[at])
    }

    /// Rows whose numbers lie in a range, in order.
    pub(crate) fn range_mut(
        &mut self,
        range: RangeInclusive<u64>,
    ) -> impl Iterator<Item = (u64, &mut Row)> {
        let start = (self.rows).partition_point(|row| row.place() < *range.start());
        let rows = self.rows.range_mut(start..);
        rows.map_while(|row| row.n.map(|n| (n, row)))
            .take_while(move |(n, _)| n <= range.end())
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

    /// Another epoch began: what another session has seen committed in the one before must not be sent in this
    /// one, and the store knows it.
    pub(crate) fn read_again(&mut self) {
        let sendable = self.rows.iter_mut();
        for row in sendable.filter(|row| row.stage == Stage::Attempted) {
            row.stage = Stage::Unsent;
        }
    }

    /// The store is asked for the mark of the row `n`: it will not be taken back here any more.
    pub(crate) fn freeze(&mut self, n: u64) {
        let Some(handle) = self.number_of(n) else {
            return;
        };
        self.leave_unsent(handle);
        if let Some(row) = self.by_number(n) {
            row.stage = Stage::Storing;
            row.attempts += 1;
        }
    }

    /// Makes an unsent row a no-op that ends as `status`; `false` if it is not unsent.
    pub(crate) fn neutralise(&mut self, handle: MutationHandle, status: MutationStatus) -> bool {
        self.leave_unsent(handle);
        let unsent = |row: &&mut Row| {
            row.is_unsent()
                || planted!(SentRowTakenBack) && row.stage != Stage::Settling && !row.noop
        };
        let Some(row) = self.by_handle(handle).filter(unsent) else {
            return false;
        };
        row.noop = true;
        row.ending = true;
        row.stage = Stage::Storing;
        row.status = status;
        true
    }

    /// The store has the no-op: nothing is left of it but its number.
    pub(crate) fn empty(&mut self, handle: MutationHandle) {
        let Some(at) = self.at(handle) else { return };
        let row = &mut self.rows[at];
        row.item = Bytes::new();
        let bytes = row.bytes.saturating_sub(NOOP_BYTES);
        row.bytes -= bytes;
        self.bytes -= bytes;
    }

    /// Whether an unsent row has to wait for the decision about the one that it comes after, or for the
    /// store's word whether that is a no-op. A decision counts once the store has it: a store that failed to
    /// keep it would mark the row as if nothing were decided.
    pub(crate) fn waits(&self, n: u64, row: &Row) -> bool {
        let first = row.after.and_then(|after| self.row(after));
        first
            .is_some_and(|first| first.ending || first.n.is_some_and(|first| n - first > AHEAD_MAX))
    }

    /// The unsent rows that come directly after this one.
    pub(crate) fn unsent_after(&self, handle: MutationHandle) -> Vec<MutationHandle> {
        if self.dependents == 0 {
            return Vec::new();
        }
        let rows = self.rows.iter();
        rows.filter(|row| row.after == Some(handle) && row.is_unsent())
            .map(|row| row.handle)
            .collect()
    }

    /// The store says how a row ended. If it was committed, nothing depends on how any more, and `low` may
    /// pass it.
    pub(crate) fn release(&mut self, n: u64, status: &MutationStatus) {
        if self.dependents > 0 && *status == MutationStatus::Committed {
            let dependents = self.rows.iter_mut().filter(|row| row.after_n == n);
            dependents.for_each(|row| row.after_n = 0);
        }
    }

    /// A row's outcome is stored: it leaves.
    pub(crate) fn remove(&mut self, handle: MutationHandle) -> Option<Row> {
        self.leave_unsent(handle);
        let row = self.rows.remove(self.at(handle)?)?;
        self.bytes -= row.bytes;
        self.dependents -= usize::from(row.after.is_some());
        Some(row)
    }

    /// Forgets what is kept of unsent rows only.
    fn leave_unsent(&mut self, handle: MutationHandle) {
        let Some(row) = self.row(handle) else { return };
        let (deadline, key) = (row.deadline, row.coalesce_key.clone());
        if let Some(at) = deadline
            && let Ok(place) = self.expiring.binary_search(&Reverse((at, handle)))
        {
            self.expiring.remove(place);
        }
        if let Some(key) = &key
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
            queue.push(handle, Bytes::new(), &options, deadline, 100);
            queue.number(handle, n);
        }
        queue
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
    fn rows_stand_by_number_and_new_ones_above_them() {
        let mut queue = queue([]);
        for handle in [1, 2] {
            queue.push(MutationHandle(handle), Bytes::new(), &key("a"), None, 100);
        }
        // Other sessions' rows, one of which was written between ours.
        queue.push_stored(MutationHandle(3), 7, 0, 100);
        queue.number(MutationHandle(1), 6);
        queue.push_stored(MutationHandle(4), 9, 6, 100);
        queue.number(MutationHandle(2), 8);
        let order: Vec<_> = queue.from(0).map(|(n, row)| (n, row.handle.0)).collect();
        assert_eq!(order, [(6, 1), (7, 3), (8, 2), (9, 4)]);
        assert_eq!(
            queue.row(MutationHandle(4)).unwrap().after,
            Some(MutationHandle(1))
        );
        for handle in 1..=4 {
            assert!(queue.remove(MutationHandle(handle)).is_some());
        }
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn unsent_rows_expire_in_order_of_their_deadlines_and_sent_ones_never() {
        let mut queue = queue([ttl(30), ttl(10), ttl(20), ttl(40)]);
        assert_eq!(queue.next_expiry(), Some(UnixTime(10)));
        queue.freeze(1);
        queue.freeze(4);
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
            queue.push(MutationHandle(n), Bytes::new(), &key("a"), None, 100)
        };
        assert_eq!(push(&mut queue, 3), Some(MutationHandle(1)));
        assert_eq!(push(&mut queue, 4), Some(MutationHandle(3)));
        queue.number(MutationHandle(4), 4);
        queue.freeze(4);
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
        queue.empty(MutationHandle(1));
        assert!(queue.bytes() < before);
        assert_eq!(
            (queue.len(), queue.from(0).next().map(|(n, _)| n)),
            (1, Some(1))
        );
        assert_eq!(
            queue.row(MutationHandle(1)).unwrap().status,
            MutationStatus::Cancelled
        );
        queue.remove(MutationHandle(1));
        assert_eq!(queue.bytes(), 0);
    }
}
