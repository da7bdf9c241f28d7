//! When the token of a living link is replaced by a new one, in band.
//!
//! Invariant: one renewal at a time, and each step has an end. What fails is tried again with back-off
//! while the token lasts; the server ends the link of one that has run out.

use std::time::Duration;

use fastrand::Rng;

use super::Backoff;
use crate::time::MonoTime;

/// The shortest life that is planned for.
const LIFE_MIN: Duration = Duration::from_secs(1);

/// The renewal of one link's token.
#[derive(Debug)]
pub(crate) struct Renewal {
    step: Step,
    /// How long the last token that could be planned for was to last.
    life: Duration,
    backoff: Backoff,
    answer_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The token never ends, or too soon to plan for.
    Unplanned,
    /// A new one is due at this moment.
    Planned(MonoTime),
    /// The application was asked for one.
    Fetching,
    /// `refresh` was sent; its answer is due by this moment.
    Sent(MonoTime),
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenewalDue {
    Nothing,
    /// Ask the application for a token.
    Token,
    /// The server has not answered: a new link will.
    Unanswered,
}

impl Renewal {
    /// `backoff`: between tries that fail. `answer_timeout`: how long a `refresh` may go unanswered.
    pub(crate) const fn new(backoff: Backoff, answer_timeout: Duration) -> Self {
        Self {
            step: Step::Unplanned,
            life: Duration::ZERO,
            backoff,
            answer_timeout,
        }
    }

    /// The token is good for `life` from now; `None`: for ever.
    ///
    /// The next one is due after a random part of it, 75–90 %, so that clients that came together do
    /// not refresh together, and a slow network leaves time for the answer. A life that is over while the server accepts the token is one that was reckoned by
    /// a clock which was set back since: then it lasts as long as the one before.
    pub(crate) fn plan(&mut self, life: Option<Duration>, now: MonoTime, rng: &mut Rng) {
        self.backoff.reset();
        let life = life.map(|life| if life < LIFE_MIN { self.life } else { life });
        self.step = match life {
            Some(life) if life >= LIFE_MIN => {
                self.life = life;
                Step::Planned(now + life / 100 * rng.u32(75..=90))
            }
            _ => Step::Unplanned,
        };
    }

    /// The next moment at which something is due. While the application looks for a token that is its
    /// own matter; the server's end of the old one bounds it.
    pub(crate) const fn deadline(&self) -> Option<MonoTime> {
        match self.step {
            Step::Planned(at) | Step::Sent(at) => Some(at),
            Step::Unplanned | Step::Fetching => None,
        }
    }

    pub(crate) fn poll(&mut self, now: MonoTime) -> RenewalDue {
        match self.step {
            Step::Planned(at) if now >= at => {
                self.step = Step::Fetching;
                RenewalDue::Token
            }
            Step::Sent(by) if now >= by => RenewalDue::Unanswered,
            _ => RenewalDue::Nothing,
        }
    }

    /// The server wants another token now.
    pub(crate) const fn fetch(&mut self) {
        self.step = Step::Fetching;
    }

    /// Whether a token that comes is for this.
    pub(crate) fn is_fetching(&self) -> bool {
        self.step == Step::Fetching
    }

    /// Whether `refresh` waits for its answer.
    pub(crate) const fn is_sent(&self) -> bool {
        matches!(self.step, Step::Sent(_))
    }

    pub(crate) fn on_sent(&mut self, now: MonoTime) {
        self.step = Step::Sent(now + self.answer_timeout);
    }

    /// No token just now, or no verdict on it: again after a growing pause, at least `floor`.
    pub(crate) fn on_failed(&mut self, floor: Option<Duration>, now: MonoTime, rng: &mut Rng) {
        self.step = Step::Planned(now + self.backoff.next_delay(floor, rng));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn renewal() -> Renewal {
        Renewal::new(Backoff::new(SECOND, 30 * SECOND), 10 * SECOND)
    }

    #[test]
    fn a_new_token_is_due_late_in_the_life_of_the_old_one_and_not_for_all_at_once() {
        let mut moments = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let mut renewal = renewal();
            renewal.plan(Some(1_000 * SECOND), MonoTime(500), &mut rng);
            moments.insert(renewal.deadline().unwrap().0);
        }
        assert!(moments.first() >= Some(&750_500) && moments.last() <= Some(&950_500));
        assert!(moments.len() > 15);
    }

    #[test]
    fn a_token_without_an_end_or_with_one_at_once_is_not_planned_for() {
        let mut renewal = renewal();
        let mut rng = Rng::with_seed(1);
        for life in [None, Some(Duration::from_millis(999))] {
            renewal.plan(life, MonoTime(0), &mut rng);
            assert_eq!(renewal.deadline(), None);
            assert_eq!(renewal.poll(MonoTime(u64::MAX)), RenewalDue::Nothing);
        }
    }

    /// Found by simulation (seed 253661): the server's clock was set back, and a token ran out that nobody renewed.
    #[test]
    fn a_life_that_cannot_be_lasts_as_long_as_the_one_before() {
        let mut renewal = renewal();
        let mut rng = Rng::with_seed(1);
        renewal.plan(Some(100 * SECOND), MonoTime(0), &mut rng);
        renewal.plan(Some(Duration::ZERO), MonoTime(80_000), &mut rng);
        let at = renewal.deadline().unwrap();
        assert!((155_000..=175_000).contains(&at.0), "{at:?}");
    }

    #[test]
    fn one_fetch_one_refresh_and_an_end_to_waiting() {
        let mut renewal = renewal();
        renewal.plan(Some(100 * SECOND), MonoTime(0), &mut Rng::with_seed(1));
        let at = renewal.deadline().unwrap();
        assert_eq!(renewal.poll(at), RenewalDue::Token);
        assert_eq!(renewal.poll(at), RenewalDue::Nothing, "single flight");
        assert!(renewal.is_fetching());
        renewal.on_sent(at);
        assert_eq!(renewal.deadline(), Some(at + 10 * SECOND));
        assert_eq!(renewal.poll(at + 10 * SECOND), RenewalDue::Unanswered);
    }

    #[test]
    fn failures_are_spaced_out() {
        let mut renewal = renewal();
        let mut rng = Rng::with_seed(1);
        let mut now = MonoTime(0);
        for _ in 0..20 {
            renewal.on_failed(Some(SECOND / 2), now, &mut rng);
            now = renewal.deadline().unwrap();
            assert_eq!(renewal.poll(now), RenewalDue::Token);
        }
        assert!(now >= MonoTime(60_000), "twenty tries within {now:?}");
    }
}
