//! Which committed mutations a log has lost.
//!
//! What was seen committed in a lower epoch is in the log of a higher one, or it is lost. A session knows
//! which as soon as its base stands in the higher one: all of the lower epochs lies below it.

use super::{CommittedRow, MutationStatus};
use crate::time::UnixTime;

/// What a base in a new epoch says of what was committed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The base's epoch: what was seen in that one is in it.
    pub epoch: u64,
    /// The last own number that the base holds; 0: the server has no row of its table for the author.
    pub last: u64,
    /// Without a row at the server nobody can tell an evicted one from a lost one, except that eviction
    /// waits until deadline and retention are over: of what has an earlier deadline than this.
    pub evicted_before: UnixTime,
}

impl Judgement {
    /// What becomes of a committed mutation, if that changes.
    #[must_use]
    pub fn fate(&self, row: &CommittedRow) -> Option<MutationStatus> {
        match self.last {
            _ if row.epoch >= self.epoch => None,
            0 if row.deadline < self.evicted_before => Some(MutationStatus::Indeterminate),
            last if row.n > last => Some(MutationStatus::Lost),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(last: u64, evicted_before: u64) -> Vec<(u64, &'static str)> {
        let judgement = Judgement {
            epoch: 5,
            last,
            evicted_before: UnixTime(evicted_before),
        };
        let rows = (1..=4).map(|n| CommittedRow {
            n,
            deadline: UnixTime(n * 100),
            epoch: if n == 4 { 5 } else { 4 },
        });
        rows.filter_map(|row| Some((row.n, judgement.fate(&row)?.name())))
            .collect()
    }

    #[test]
    fn with_a_row_at_the_server_what_lies_above_it_is_lost_but_for_what_was_seen_there() {
        assert_eq!(judge(2, 9_999), [(3, "lost")]);
        assert_eq!(judge(3, 0), []);
    }

    #[test]
    fn without_a_row_the_young_are_lost_and_the_old_indeterminate() {
        let expected = [(1, "indeterminate"), (2, "lost"), (3, "lost")];
        assert_eq!(judge(0, 150), expected);
    }
}
