//! How long to wait before trying again.

use std::time::Duration;

use fastrand::Rng;

/// Counts failed attempts and draws delays.
///
/// Full jitter: uniform over `0..=min(max, base * 2^attempt)`; the exponent saturates.
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    pub(crate) const fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            attempt: 0,
        }
    }

    /// The next delay; `floor` is what the other side asked for (`Retry-After`). The jitter comes on top:
    /// everybody heard the same number, and must not be back in the same second.
    pub(crate) fn next_delay(&mut self, floor: Option<Duration>, rng: &mut Rng) -> Duration {
        let factor = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        let ceiling = self.base.saturating_mul(factor).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        let ceiling_ms = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
        floor.unwrap_or_default() + Duration::from_millis(rng.u64(0..=ceiling_ms))
    }

    /// How many delays were drawn since the last reset.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempt
    }

    pub(crate) const fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_jittered_grow_and_are_capped() {
        let mut rng = Rng::with_seed(1);
        let second = Duration::from_secs(1);
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::new(second, second * 30);
            for attempt in 0..100u32 {
                let ceiling = (second * 2u32.saturating_pow(attempt.min(10))).min(second * 30);
                assert!(backoff.next_delay(None, &mut rng) <= ceiling);
            }
        }
        let mut backoff = Backoff::new(second, second * 30);
        let spread: std::collections::BTreeSet<_> = (0..20)
            .map(|_| {
                backoff.reset();
                backoff.next_delay(None, &mut rng)
            })
            .collect();
        assert!(spread.len() > 15);
    }

    #[test]
    fn retry_after_is_a_floor_and_nobody_comes_back_in_the_same_second_as_all_others() {
        let floor = Duration::from_secs(60);
        let delays: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| {
                let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
                backoff.next_delay(Some(floor), &mut Rng::with_seed(seed))
            })
            .collect();
        assert!(delays.first() >= Some(&floor));
        assert!(delays.last() <= Some(&(floor + Duration::from_secs(1))));
        assert!(delays.len() > 50, "{} different delays", delays.len());
    }
}
