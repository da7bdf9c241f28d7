//! Whether this node's clock may be trusted, judged by the broker's.
//!
//! Log time follows the nodes' clocks and never falls: one clock far ahead would let every mutation of
//! the channel expire. Invariant: no mutation is evaluated by a clock that is off.

use std::time::Duration;

use tidewire_core::planted;
use tidewire_core::time::{MonoTime, Now, UnixTime};

/// A node whose clock is further than this from the broker's evaluates nothing.
const OFF_MAX: Duration = Duration::from_secs(5);

/// After this long the broker's clock is read again before anything is evaluated by it.
const AGE_MAX: Duration = Duration::from_secs(60);

/// What the broker's clock said last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BrokerClock(Option<Reading>);

/// The broker read its clock at some moment between the question and the answer.
#[derive(Clone, Copy, Debug)]
struct Reading {
    unix: UnixTime,
    asked: MonoTime,
    answered: MonoTime,
}

impl BrokerClock {
    pub(super) fn note(&mut self, unix: UnixTime, asked: MonoTime, answered: MonoTime) {
        self.0 = Some(Reading {
            unix,
            asked,
            answered,
        });
    }

    /// Whether the last reading is too old to judge by.
    pub(super) fn is_old(&self, now: Now) -> bool {
        self.0
            .is_none_or(|reading| now.mono > reading.answered + AGE_MAX)
    }

    /// Whether this node's clock is certainly off: the time that the answer took is its benefit.
    pub(super) fn is_off(&self, now: Now) -> bool {
        if planted!(WrongClockTrusted) {
            return false;
        }
        self.0.is_some_and(|reading| {
            let (earliest, latest) = reading.at(now.mono);
            let off_max = u64::try_from(OFF_MAX.as_millis()).unwrap_or(u64::MAX);
            now.unix.0 > latest.saturating_add(off_max)
                || now.unix.0.saturating_add(off_max) < earliest
        })
    }

    /// What the broker's clock shows now at least; this node's before it was read.
    pub(super) fn unix(&self, now: Now) -> UnixTime {
        self.0
            .map_or(now.unix, |reading| UnixTime(reading.at(now.mono).0))
    }

    /// The time to stamp an entry with that cannot wait: the node's, or the broker's if that is off.
    pub(super) fn trusted(&self, now: Now) -> UnixTime {
        match self.0 {
            Some(reading) if self.is_off(now) => UnixTime(reading.at(now.mono).0),
            _ => now.unix,
        }
    }
}

impl Reading {
    /// The bounds of what the broker's clock says at a moment.
    fn at(&self, mono: MonoTime) -> (u64, u64) {
        let since = |from: MonoTime| self.unix.0.saturating_add(mono.0.saturating_sub(from.0));
        (since(self.answered), since(self.asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(mono: u64, unix: u64) -> Now {
        Now {
            mono: MonoTime(mono),
            unix: UnixTime(unix),
        }
    }

    fn read_at(asked: u64, answered: u64) -> BrokerClock {
        let mut clock = BrokerClock::default();
        clock.note(UnixTime(1_000_000), MonoTime(asked), MonoTime(answered));
        clock
    }

    #[test]
    fn five_seconds_either_way_are_allowed_also_long_after() {
        let clock = read_at(100, 100);
        for (mono, agrees) in [(100, 1_000_000), (50_100, 1_050_000)] {
            assert!(!clock.is_off(now(mono, agrees + 5_000)));
            assert!(clock.is_off(now(mono, agrees + 5_001)));
            assert!(!clock.is_off(now(mono, agrees - 5_000)));
            assert!(clock.is_off(now(mono, agrees - 5_001)));
        }
    }

    #[test]
    fn a_slow_answer_puts_nobody_in_the_wrong() {
        let clock = read_at(100, 8_100);
        assert!(!clock.is_off(now(8_100, 1_008_000)));
        assert!(!clock.is_off(now(8_100, 1_000_000)));
        assert!(clock.is_off(now(8_100, 1_014_000)));
    }

    #[test]
    fn a_clock_that_is_off_is_not_what_entries_are_stamped_with() {
        let clock = read_at(100, 100);
        assert_eq!(clock.trusted(now(200, 9_000_000)), UnixTime(1_000_100));
        assert_eq!(clock.trusted(now(200, 1_002_000)), UnixTime(1_002_000));
        assert_eq!(BrokerClock::default().trusted(now(0, 5)), UnixTime(5));
    }

    #[test]
    fn a_reading_grows_old() {
        assert!(BrokerClock::default().is_old(now(0, 0)));
        assert!(!read_at(100, 100).is_old(now(60_100, 0)));
        assert!(read_at(100, 100).is_old(now(60_101, 0)));
    }
}
