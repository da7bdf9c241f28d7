//! How long mutations and table rows live, by log time.
//!
//! Log time is the largest `ms` of the log so far. Invariant: as long as a push could be appended, the
//! row that would find it a duplicate is there: both end by the same rule, `is_past_retention`.

use std::time::Duration;

use tidewire_core::planted;

use crate::log::TableRow;

/// The two times that decide. They are the same on every node of a broker, for ever: the fold depends
/// on the retention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    ttl_ms_max: u64,
    retention_ms: u64,
}

impl Lifetime {
    pub(super) fn new(ttl_max: Duration, retention: Duration) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            ttl_ms_max: millis(ttl_max),
            retention_ms: millis(retention),
        }
    }

    /// The deadline that a mutation is judged by at log time `ms`: the one it asks for, 0 = none, but
    /// never further away than the longest time to live.
    pub(super) fn effective_deadline(&self, asked_ms: u64, ms: u64) -> u64 {
        let latest = ms.saturating_add(self.ttl_ms_max);
        match asked_ms {
            0 => latest,
            asked_ms => asked_ms.min(latest),
        }
    }

    /// Whether a mutation came too late to be applied: it is rejected `expired`, in the log.
    pub(super) fn is_expired(&self, deadline_ms: u64, ms: u64) -> bool {
        deadline_ms < ms
    }

    /// Whether a push is so old that the row which knew its number may be gone: it is never appended.
    pub(super) fn is_too_old(&self, asked_ms: u64, ms: u64) -> bool {
        asked_ms != 0 && self.is_past_retention(asked_ms, ms) && !planted!(OutdatedAppended)
    }

    /// Whether the fold drops a row once log time is `ms`.
    pub(super) fn is_evicted(&self, row: &TableRow, ms: u64) -> bool {
        if planted!(EvictedAtDeadline) {
            return row.deadline_max < ms;
        }
        self.is_past_retention(row.deadline_max, ms)
    }

    fn is_past_retention(&self, deadline_ms: u64, ms: u64) -> bool {
        deadline_ms.saturating_add(self.retention_ms) < ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Lifetime = Lifetime {
        ttl_ms_max: 100,
        retention_ms: 1000,
    };

    #[test]
    fn a_deadline_is_cut_to_the_longest_time_to_live() {
        assert_eq!(LIFETIME.effective_deadline(0, 50), 150);
        assert_eq!(LIFETIME.effective_deadline(120, 50), 120);
        assert_eq!(LIFETIME.effective_deadline(u64::MAX, 50), 150);
        assert_eq!(LIFETIME.effective_deadline(7, 50), 7);
        assert_eq!(LIFETIME.effective_deadline(0, u64::MAX), u64::MAX);
    }

    #[test]
    fn the_last_moment_still_counts() {
        assert!(!LIFETIME.is_expired(50, 50));
        assert!(LIFETIME.is_expired(50, 51));
        assert!(!LIFETIME.is_too_old(50, 1050));
        assert!(LIFETIME.is_too_old(50, 1051));
        assert!(!LIFETIME.is_too_old(0, u64::MAX), "none asked for");
    }

    #[test]
    fn a_row_goes_when_the_last_push_that_it_knows_is_too_old() {
        let row = TableRow {
            deadline_max: 50,
            ..TableRow::default()
        };
        for ms in [50, 1050, 1051] {
            assert_eq!(LIFETIME.is_evicted(&row, ms), LIFETIME.is_too_old(50, ms));
        }
    }
}
