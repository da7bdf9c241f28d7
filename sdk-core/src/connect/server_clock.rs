//! What time the server has: deadlines and token ends are told in its time.

use std::collections::VecDeque;

use crate::time::{MonoTime, Now, UnixTime};
use crate::wire::NUMBER_MAX;

/// Samples of one link that are compared. A server's clock that was set back is believed after so many
/// heartbeats.
const SAMPLES_MAX: usize = 4;

/// Estimates the server's clock from what it says in `welcome` and heartbeats.
///
/// A sample is late by the time that its frame travelled, never early, so the latest of the last few
/// is the best one. Between samples the monotonic clock passes the time: a clock that somebody sets
/// moves no deadline. The machine's own calendar serves only until the first sample, and to see sleep,
/// during which some monotonic clocks stand still.
///
/// The estimate may be off by a round trip, and may go back: it plans ahead. What is over for good is
/// judged by [`Self::at_least`], which no guess about sleep moves.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerClock {
    /// Server time minus monotonic time of each sample, in ms; the youngest is at the back.
    offsets: VecDeque<i64>,
    /// Time slept since those samples: a guess that the next sample replaces.
    slept_ms: i64,
}

impl ServerClock {
    /// A new link: perhaps another server, with another clock. `server_ms` is from its `welcome`.
    pub(crate) fn start(&mut self, server_ms: u64, now: MonoTime) {
        self.offsets.clear();
        self.sample(server_ms, now);
    }

    /// Whether a server has spoken; before that the machine's calendar serves.
    pub(crate) fn has_samples(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// A heartbeat of the present link said `server_ms`.
    pub(crate) fn sample(&mut self, server_ms: u64, now: MonoTime) {
        let (Ok(server), Ok(mono)) = (i64::try_from(server_ms), i64::try_from(now.0)) else {
            return;
        };
        if server_ms > NUMBER_MAX {
            return;
        }
        if self.slept_ms != 0 {
            self.slept_ms = 0;
            self.offsets.clear();
        }
        if self.offsets.len() == SAMPLES_MAX {
            self.offsets.pop_front();
        }
        self.offsets.push_back(server - mono);
    }

    /// The calendar went on by so much more than the monotonic clock: the machine slept.
    pub(crate) const fn on_slept(&mut self, ms: u64) {
        // Bounded by what a calendar can say, so that a mad one cannot overflow.
        let ms = if ms > NUMBER_MAX { NUMBER_MAX } else { ms };
        self.slept_ms = self.slept_ms.saturating_add_unsigned(ms);
    }

    /// The server's time at this moment, as far as can be guessed: Unix ms.
    pub(crate) fn now(&self, now: Now) -> UnixTime {
        let latest = self.offsets.iter().max();
        let guess = latest.map(|offset| offset.saturating_add(self.slept_ms));
        Self::at(guess, now)
    }

    /// What the server's time is at least. Sleep may have passed unseen.
    pub(crate) fn at_least(&self, now: Now) -> UnixTime {
        Self::at(self.offsets.iter().min().copied(), now)
    }

    /// The latest that it can be while something lasts until `end`. A guess about sleep, or a sample of before the
    /// clock was set back, that contradicts this was wrong.
    pub(crate) fn before(&self, end: UnixTime, now: Now) -> UnixTime {
        let guess = self.now(now);
        let samples = self
            .offsets
            .iter()
            .map(|&offset| Self::at(Some(offset), now));
        let latest = samples.chain([guess]).filter(|at| *at < end).max();
        latest.unwrap_or(guess)
    }

    fn at(offset: Option<i64>, now: Now) -> UnixTime {
        offset.map_or(now.unix, |offset| {
            UnixTime(now.mono.0.saturating_add_signed(offset))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(mono: u64, unix: u64) -> Now {
        Now {
            mono: MonoTime(mono),
            unix: UnixTime(unix),
        }
    }

    #[test]
    fn the_machines_calendar_serves_until_the_server_has_spoken() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.now(at(5, 1_000_000)), UnixTime(1_000_000));
        clock.start(2_000_000, MonoTime(5));
        assert_eq!(clock.now(at(5, 1_000_000)), UnixTime(2_000_000));
        assert_eq!(clock.now(at(105, 7)), UnixTime(2_000_100), "set back");
    }

    #[test]
    fn the_quickest_of_the_last_samples_counts() {
        let mut clock = ServerClock::default();
        clock.start(1_000_000, MonoTime(900));
        clock.sample(1_001_000, MonoTime(1_100));
        clock.sample(1_002_000, MonoTime(5_000));
        assert_eq!(clock.now(at(5_000, 0)), UnixTime(1_004_900));
        assert_eq!(clock.at_least(at(5_000, 0)), UnixTime(1_002_000));
    }

    #[test]
    fn a_servers_clock_that_was_set_back_is_believed_after_some_heartbeats() {
        let mut clock = ServerClock::default();
        clock.start(1_000_000, MonoTime(0));
        for beat in 1..=4 {
            clock.sample(500_000 + beat * 1_000, MonoTime(beat * 1_000));
        }
        assert_eq!(clock.now(at(4_000, 0)), UnixTime(504_000));
    }

    #[test]
    fn a_new_link_forgets_the_last_servers_clock() {
        let mut clock = ServerClock::default();
        clock.start(1_000_000, MonoTime(0));
        clock.start(500_000, MonoTime(10));
        assert_eq!(clock.now(at(10, 0)), UnixTime(500_000));
    }

    #[test]
    fn sleep_passes_time_until_the_server_speaks_again() {
        let mut clock = ServerClock::default();
        clock.start(1_000_000, MonoTime(0));
        clock.on_slept(3_600_000);
        assert_eq!(clock.now(at(1_000, 0)), UnixTime(4_601_000));
        assert_eq!(clock.at_least(at(1_000, 0)), UnixTime(1_001_000));
        clock.sample(1_002_000, MonoTime(2_000));
        assert_eq!(clock.now(at(2_000, 0)), UnixTime(1_002_000), "no sleep");
    }

    #[test]
    fn no_clock_can_overflow_it() {
        let mut clock = ServerClock::default();
        clock.start(u64::MAX, MonoTime(u64::MAX));
        assert_eq!(clock.now(at(u64::MAX, 3)), UnixTime(3));
        clock.start(NUMBER_MAX, MonoTime(0));
        clock.on_slept(u64::MAX);
        clock.on_slept(u64::MAX);
        assert!(clock.now(at(u64::MAX, 0)).0 > NUMBER_MAX);
    }
}
