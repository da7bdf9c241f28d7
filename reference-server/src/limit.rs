//! How fast one connection may talk, and the log.

#[cfg(feature = "net")]
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewire_core::time::MonoTime;

/// Frames per second.
#[cfg(feature = "config")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// For long; zero: as many as come.
    pub per_s: u32,
    /// At once, before that.
    pub burst: u32,
}

#[cfg(feature = "config")]
impl Rate {
    /// So many for long, and so many at once.
    #[must_use]
    pub const fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s, burst }
    }
}

/// A bucket of tokens, one per frame, refilled at a steady rate.
///
/// Policy: a client that is too fast is read more slowly; it is not refused and loses nothing.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    per_second: i64,
    burst: i64,
    /// Thousandths of a token; below zero it is owed.
    level: i64,
    at: MonoTime,
}

impl TokenBucket {
    pub(crate) fn new(per_second: u32, burst: u32, now: MonoTime) -> Self {
        Self {
            per_second: i64::from(per_second.max(1)),
            burst: i64::from(burst) * 1000,
            level: i64::from(burst) * 1000,
            at: now,
        }
    }

    /// Takes `count` tokens; returns how long to wait before the next take.
    ///
    /// The level may be owed: a large take is granted and paid for by waiting.
    pub(crate) fn take(&mut self, count: usize, now: MonoTime) -> Duration {
        let elapsed_ms = i64::try_from(now.since(self.at).as_millis()).unwrap_or(i64::MAX);
        // Tasks that share a bucket have each read the clock a little earlier or later.
        self.at = self.at.max(now);
        let cost = i64::try_from(count)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        self.level = self
            .level
            .saturating_add(elapsed_ms.saturating_mul(self.per_second))
            .min(self.burst)
            .saturating_sub(cost);
        let owed = u64::try_from(self.level.saturating_neg()).unwrap_or(0);
        Duration::from_millis(owed.div_ceil(self.per_second.unsigned_abs()))
    }
}

#[cfg(feature = "net")]
impl TokenBucket {
    /// Whether one that was made now would be the same.
    pub(crate) fn is_full(&mut self, now: MonoTime) -> bool {
        self.take(0, now);
        self.level == self.burst
    }
}

#[cfg(feature = "net")]
impl Rate {
    /// A full bucket of this rate; `None`: there is no limit.
    pub(crate) fn bucket(self, now: MonoTime) -> Option<TokenBucket> {
        (self.per_s > 0).then(|| TokenBucket::new(self.per_s, self.burst, now))
    }
}

/// A bucket that several connections take from.
#[cfg(feature = "net")]
#[derive(Clone, Debug)]
pub(crate) struct SharedBucket(Arc<Mutex<TokenBucket>>);

#[cfg(feature = "net")]
impl SharedBucket {
    pub(crate) fn new(bucket: TokenBucket) -> Self {
        Self(Arc::new(Mutex::new(bucket)))
    }

    /// As [`TokenBucket::take`].
    pub(crate) fn take(&self, count: usize, now: MonoTime) -> Duration {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(count, now)
    }

    /// Whether one that was made now would be the same.
    pub(crate) fn is_full(&self, now: MonoTime) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.is_full(now)
    }
}

/// Lines about failures that many channels share, in one period.
#[cfg(feature = "net")]
const LINES_MAX: u32 = 10;
#[cfg(feature = "net")]
const LINES_PERIOD: Duration = Duration::from_secs(10);

#[cfg(feature = "net")]
/// Bounds log lines of one kind. Policy: the first ones of a period are written, the others counted.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    state: Mutex<LogState>,
}

#[cfg(feature = "net")]
#[derive(Debug, Default)]
struct LogState {
    period_began: Option<MonoTime>,
    said: u32,
    unsaid: u64,
}

#[cfg(feature = "net")]
impl LogLimit {
    /// Whether a line may be written now; if so, how many were not since the last one.
    pub(crate) fn take(&self, now: MonoTime) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .period_began
            .is_none_or(|began| now >= began + LINES_PERIOD)
        {
            state.period_began = Some(now);
            state.said = 0;
        }
        if state.said >= LINES_MAX {
            state.unsaid += 1;
            return None;
        }
        state.said += 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "net")]
    #[test]
    fn a_flood_of_log_lines_is_counted_instead_of_written() {
        let limit = LogLimit::default();
        let said = (0..100).filter(|_| limit.take(MonoTime(5)).is_some());
        assert_eq!(said.count(), LINES_MAX as usize);
        assert_eq!(limit.take(MonoTime(10_004)), None);
        assert_eq!(limit.take(MonoTime(10_005)), Some(91));
        assert_eq!(limit.take(MonoTime(10_006)), Some(0));
    }

    #[test]
    fn a_burst_is_free_and_the_rest_waits_its_time() {
        let mut bucket = TokenBucket::new(100, 10, MonoTime(0));
        assert_eq!(bucket.take(10, MonoTime(0)), Duration::ZERO);
        assert_eq!(bucket.take(1, MonoTime(0)), Duration::from_millis(10));
        assert_eq!(bucket.take(1, MonoTime(20)), Duration::ZERO);
        assert_eq!(bucket.take(100, MonoTime(20)), Duration::from_millis(1000));
        assert_eq!(bucket.take(1, MonoTime(1020)), Duration::from_millis(10));
    }

    #[test]
    fn rest_does_not_pile_up_beyond_the_burst() {
        let mut bucket = TokenBucket::new(100, 10, MonoTime(0));
        bucket.take(10, MonoTime(0));
        assert_eq!(bucket.take(10, MonoTime(1_000_000)), Duration::ZERO);
        assert_ne!(bucket.take(1, MonoTime(1_000_000)), Duration::ZERO);
    }
}
