//! A hole in the stream: how long it may last, and which range is asked for.
//!
//! Invariant: a hole ends, by its patches or by a subscribe, after at most [`GAP_TIMEOUT`] without
//! progress; and however many holes follow each other, fetches keep their distance.

use std::time::Duration;

use crate::time::MonoTime;

/// How long a hole may stay as it is, and how long a heartbeat's head may be ahead of a live channel
/// before that is one.
pub(super) const GAP_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two fetches of a channel.
const FETCH_INTERVAL: Duration = Duration::from_millis(200);

/// What was asked for, and when.
#[derive(Debug, Default)]
pub(super) struct GapFill {
    /// The last fetch, of the present stream, ended here.
    through: u64,
    fetched_at: Option<MonoTime>,
}

impl GapFill {
    /// A new stream runs: answers to older fetches mean nothing to it.
    pub(super) const fn restart(&mut self) {
        self.through = 0;
    }

    /// Whether the hole up to `end` has to be asked for, the base standing at `applied`.
    const fn is_due(&self, applied: u64, end: u64) -> bool {
        applied < end && applied >= self.through
    }

    /// When the next fetch may go, if one is due.
    pub(super) fn deadline(&self, applied: u64, end: u64) -> Option<MonoTime> {
        self.is_due(applied, end).then(|| {
            self.fetched_at
                .map_or(MonoTime(0), |at| at + FETCH_INTERVAL)
        })
    }

    /// Whether to ask for (`applied`, `end`] now. Once per hole: what an answer leaves open is a new one.
    pub(super) fn poll(&mut self, now: MonoTime, applied: u64, end: u64) -> bool {
        let due = self.deadline(applied, end).is_some_and(|at| now >= at);
        if due {
            self.through = end;
            self.fetched_at = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_asked_for_once_and_the_next_one_not_at_once() {
        let mut gap = GapFill::default();
        assert!(gap.poll(MonoTime(10), 5, 9));
        assert!(!gap.poll(MonoTime(11), 5, 9));
        assert!(!gap.poll(MonoTime(500), 7, 9), "its answer is under way");
        assert_eq!(gap.deadline(9, 12), Some(MonoTime(210)));
        assert!(!gap.poll(MonoTime(209), 9, 12));
        assert!(gap.poll(MonoTime(210), 9, 12));
        assert!(!gap.poll(MonoTime(900), 12, 12), "no hole");
    }

    #[test]
    fn a_new_stream_asks_again_and_keeps_the_distance() {
        let mut gap = GapFill::default();
        assert!(gap.poll(MonoTime(10), 5, 9));
        gap.restart();
        assert!(!gap.poll(MonoTime(100), 5, 9));
        assert!(gap.poll(MonoTime(210), 5, 9));
    }
}
