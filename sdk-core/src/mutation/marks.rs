//! What was committed and has left the outbox: who can still be told that it is lost.

use std::collections::VecDeque;
use std::time::Duration;

use super::{MutationHandle, MutationStatus};
use crate::time::UnixTime;

/// How many marks a channel keeps. Policy at the limit: the oldest is forgotten; the application then
/// learns of the loss by `history_lost` alone.
const MARKS_MAX: usize = 4096;

/// Committed mutations in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    committed: VecDeque<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    n: u64,
    handle: MutationHandle,
    deadline: UnixTime,
    epoch: u64,
}

/// What a snapshot of a higher epoch says about what was committed before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judgement {
    /// Up to here nothing can be lost.
    pub(crate) above: u64,
    /// The log's epoch: what was seen in that one is in it.
    pub(crate) epoch: u64,
    /// The last own number that the log has decided; 0: the server has no row for us.
    pub(crate) last: u64,
    pub(crate) server_now: UnixTime,
    pub(crate) retention: Duration,
}

impl Judgement {
    /// What becomes of a committed mutation, if that changes.
    ///
    /// Without a row at the server nobody can tell an evicted one from a lost one, except that eviction
    /// waits until deadline and retention are over.
    pub(crate) fn fate(&self, n: u64, deadline: UnixTime) -> Option<MutationStatus> {
        match self.last {
            _ if n <= self.above => None,
            0 if deadline + self.retention < self.server_now => Some(MutationStatus::Indeterminate),
            last if n > last => Some(MutationStatus::Lost),
            _ => None,
        }
    }
}

impl Marks {
    pub(crate) fn insert(
        &mut self,
        n: u64,
        handle: MutationHandle,
        deadline: UnixTime,
        epoch: u64,
    ) {
        if self.committed.len() == MARKS_MAX {
            self.committed.pop_front();
        }
        self.committed.push_back(Mark {
            n,
            handle,
            deadline,
            epoch,
        });
    }

    /// The log that they were seen in is another one than what comes, whatever its epoch.
    pub(crate) fn give_up(&mut self) {
        for mark in &mut self.committed {
            mark.epoch = 0;
        }
    }

    /// Takes those whose outcome changes.
    pub(crate) fn judge(
        &mut self,
        judgement: &Judgement,
    ) -> Vec<(MutationHandle, u64, MutationStatus)> {
        let mut changed = Vec::new();
        self.committed.retain(|mark| {
            let is_older = mark.epoch < judgement.epoch;
            let fate = judgement.fate(mark.n, mark.deadline).filter(|_| is_older);
            let kept = fate.is_none();
            changed.extend(fate.map(|status| (mark.handle, mark.n, status)));
            kept
        });
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        let mut marks = Marks::default();
        for n in 1..=3 {
            marks.insert(n, MutationHandle(n), UnixTime(n * 100), 4);
        }
        marks
    }

    fn judge(last: u64, now: u64) -> Vec<(u64, &'static str)> {
        let judgement = Judgement {
            above: 0,
            epoch: 5,
            last,
            server_now: UnixTime(now),
            retention: Duration::from_millis(1000),
        };
        let changed = marks().judge(&judgement);
        changed
            .iter()
            .map(|(_, n, status)| (*n, status.name()))
            .collect()
    }

    #[test]
    fn with_a_row_at_the_server_what_lies_above_it_is_lost() {
        assert_eq!(judge(2, 9_999), [(3, "lost")]);
        assert_eq!(judge(3, 0), []);
    }

    #[test]
    fn without_a_row_the_young_are_lost_and_the_old_indeterminate() {
        let expected = [(1, "indeterminate"), (2, "lost"), (3, "lost")];
        assert_eq!(judge(0, 1_150), expected);
    }

    #[test]
    fn the_oldest_mark_makes_room() {
        let mut marks = Marks::default();
        for n in 1..=MARKS_MAX as u64 + 1 {
            marks.insert(n, MutationHandle(n), UnixTime(0), 4);
        }
        assert_eq!(marks.committed.len(), MARKS_MAX);
        assert_eq!(marks.committed.front().map(|mark| mark.n), Some(2));
    }
}
