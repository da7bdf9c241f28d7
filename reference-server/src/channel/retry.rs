//! When to ask the broker again after it failed or refused.

use std::time::Duration;

use tidewire_core::time::MonoTime;

/// Failures and conflicts in a row after which waiting pushes are told `hold`.
const ATTEMPTS_MAX: u32 = 5;

const DELAY_BASE: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Counts what went wrong since the last success.
#[derive(Debug, Default)]
pub(super) struct Retry {
    attempts: u32,
    not_before: Option<MonoTime>,
}

impl Retry {
    /// The broker answered and there was progress.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// The broker answers again, but it is open whether what was tried succeeds.
    pub(super) fn resume(&mut self) {
        self.not_before = None;
    }

    /// The broker failed: wait, with full jitter over an exponential delay.
    /// Bound: one request per delay, and none once nobody waits for anything.
    pub(super) fn fail(&mut self, now: MonoTime, rng: &mut fastrand::Rng) {
        self.attempts = self.attempts.saturating_add(1);
        let delay = (DELAY_BASE * (1 << self.attempts.min(10))).min(DELAY_MAX);
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        // Never zero, so that a retry always lets time pass.
        self.not_before = Some(now + Duration::from_millis(rng.u64(1..=millis)));
    }

    /// Someone else appended: catching up is progress, so the first tries need no delay.
    /// Bound: `ATTEMPTS_MAX` tries without one, then as after a failure.
    pub(super) fn conflict(&mut self, now: MonoTime, rng: &mut fastrand::Rng) {
        if self.is_exhausted() {
            self.fail(now, rng);
        } else {
            self.attempts += 1;
        }
    }

    /// Whether waiting pushes should be told.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.attempts >= ATTEMPTS_MAX
    }

    /// The moment before which nothing is asked.
    pub(super) fn wait_until(&self, now: MonoTime) -> Option<MonoTime> {
        self.not_before.filter(|at| *at > now)
    }
}
