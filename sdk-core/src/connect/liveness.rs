//! When a silent link is called dead.
//!
//! The server sends a heartbeat at an interval that it states; a link silent for that plus a grace is
//! dead. A timer that fires late (sleep, throttling, a frozen tab) says nothing about the link: frames
//! may wait in the socket. Then one probe decides.

use std::time::Duration;

use crate::planted;
use crate::time::MonoTime;

/// Watches one link.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    silence_max: Duration,
    probe_timeout: Duration,
    heard_at: MonoTime,
    /// When to look next. It stays put while frames arrive, so that no timer is reset per message.
    check_at: MonoTime,
    probe_until: Option<MonoTime>,
    /// The probe was repeated, since the timer that should have judged it came late.
    repeated: bool,
}

/// What to do about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Alive,
    /// Send a ping now.
    Probe,
    Dead,
}

impl Liveness {
    pub(crate) fn new(silence_max: Duration, probe_timeout: Duration, now: MonoTime) -> Self {
        Self {
            silence_max,
            probe_timeout,
            heard_at: now,
            check_at: now + silence_max,
            probe_until: None,
            repeated: false,
        }
    }

    /// Any frame proves life.
    pub(crate) const fn on_frame(&mut self, now: MonoTime) {
        self.heard_at = now;
        self.probe_until = None;
    }

    /// Something suggests that the link may be dead: a hint, a clock jump, an unanswered push.
    pub(crate) fn suspect(&mut self, now: MonoTime) -> Verdict {
        if self.probe_until.is_some() {
            return Verdict::Alive;
        }
        self.probe_until = Some(now + self.probe_timeout);
        self.repeated = false;
        Verdict::Probe
    }

    /// The moment of the next check.
    pub(crate) fn deadline(&self) -> MonoTime {
        self.probe_until
            .map_or(self.check_at, |until| until.min(self.check_at))
    }

    pub(crate) fn check(&mut self, now: MonoTime) -> Verdict {
        if planted!(SilenceTolerated) {
            self.check_at = now + self.silence_max;
            self.probe_until = None;
            return Verdict::Alive;
        }
        if let Some(until) = self.probe_until {
            // After a late turn queued frames are still to be handed over: probe again instead of judging. But
            // once: in a hidden tab every timer is late, and a dead link would never be found.
            if now >= until + self.probe_timeout && !self.repeated {
                self.probe_until = Some(now + self.probe_timeout);
                self.repeated = true;
                return Verdict::Probe;
            }
            if now >= until {
                return Verdict::Dead;
            }
        }
        if now < self.check_at {
            return Verdict::Alive;
        }
        let due = self.heard_at + self.silence_max;
        if now < due {
            self.check_at = due;
            return Verdict::Alive;
        }
        self.check_at = now + self.silence_max;
        if now >= due + self.probe_timeout {
            return self.suspect(now);
        }
        Verdict::Dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(35);
    const PROBE: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1000)
    }

    #[test]
    fn silence_is_death_and_frames_are_life() {
        let mut link = Liveness::new(SILENCE, PROBE, at(0));
        link.on_frame(at(20));
        assert_eq!(link.deadline(), at(35));
        assert_eq!(link.check(at(35)), Verdict::Alive);
        assert_eq!(link.deadline(), at(55));
        assert_eq!(link.check(at(55)), Verdict::Dead);
    }

    #[test]
    fn a_late_timer_probes_before_it_judges() {
        let mut link = Liveness::new(SILENCE, PROBE, at(0));
        assert_eq!(link.check(at(500)), Verdict::Probe);
        assert_eq!(link.deadline(), at(503));
        link.on_frame(at(501));
        assert_eq!(link.check(at(503)), Verdict::Alive);
        assert_eq!(link.suspect(at(504)), Verdict::Probe);
        assert_eq!(link.suspect(at(505)), Verdict::Alive);
        assert_eq!(link.check(at(507)), Verdict::Dead);
    }

    #[test]
    fn where_every_timer_is_late_a_dead_link_is_found_all_the_same() {
        let mut link = Liveness::new(SILENCE, PROBE, at(0));
        link.on_frame(at(10));
        let verdicts: Vec<_> = (1..=3).map(|minute| link.check(at(60 * minute))).collect();
        assert_eq!(verdicts, [Verdict::Probe, Verdict::Probe, Verdict::Dead]);
    }

    #[test]
    fn where_every_timer_is_late_a_living_link_lives() {
        let mut link = Liveness::new(SILENCE, PROBE, at(0));
        for second in (25..=600).step_by(5) {
            if second % 25 == 0 {
                link.on_frame(at(second));
            }
            if second % 60 == 0 {
                assert_ne!(link.check(at(second)), Verdict::Dead, "at {second} s");
            }
        }
    }
}
