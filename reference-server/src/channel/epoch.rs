//! Epochs: which incarnation of a channel's history this is.
//!
//! Invariant: an opened epoch is above every epoch that the log or any claim has named.

use std::time::Duration;

use tidewire_core::planted;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::NUMBER_MAX;

/// At most one epoch per channel in this time is opened because a store claims a higher one:
/// each opening makes every other subscriber subscribe again.
pub(super) const CLAIM_PERIOD: Duration = Duration::from_secs(10);

/// A claim above the log's own epoch and so near to the largest number is not believed: the channel
/// would run out of epochs. What is left above it is for 100,000 openings and more.
const CLAIM_MAX: u64 = NUMBER_MAX - (1 << 33);

/// Whether a store may claim to have seen `epoch`.
pub(super) const fn is_credible(epoch: u64) -> bool {
    epoch <= CLAIM_MAX
}

/// Epochs count milliseconds from the beginning of 2020: so their numbers last until 2159.
const CLOCK_START_MS: u64 = 1_577_836_800_000;

/// How far above the highest known number an epoch may be chosen.
const SPREAD: u64 = 1 << 16;

/// The epoch to open: above what is known and claimed, and unlikely to be chosen by another node.
///
/// The spread goes on top of whichever number is highest. With a bare `claim + 1`, two logs that were
/// both lost could have had the same epoch, opened for the same claim: a client that saw the first one
/// would have taken the second for its continuation (tests/fixtures/seeds.txt, 70).
pub(super) fn next(known: u64, claim: u64, unix: UnixTime, rng: &mut fastrand::Rng) -> u64 {
    let clock = unix
        .0
        .saturating_sub(CLOCK_START_MS)
        .saturating_mul(1 << 11);
    let clock = clock.min(CLAIM_MAX);
    if planted!(EpochReused) {
        return known.max(claim) + 1;
    }
    let claim = if planted!(EpochIgnoresClaim) {
        0
    } else {
        claim
    };
    let floor = known.max(claim).max(clock);
    (floor + 1 + rng.u64(..SPREAD)).min(NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_is_above_clock_log_and_claim() {
        let mut rng = fastrand::Rng::with_seed(1);
        let now = UnixTime(1_795_000_000_000);
        let by_clock = next(0, 0, now, &mut rng);
        assert!(by_clock > (now.0 - CLOCK_START_MS) << 11);
        assert_eq!((by_clock >> 11).abs_diff(now.0 - CLOCK_START_MS) >> 5, 0);
        assert!(next(by_clock + 9, 0, now, &mut rng) > by_clock + 9);
        assert!(next(0, by_clock + 9, now, &mut rng) > by_clock + 9);
        assert!(next(0, 0, UnixTime(u64::MAX), &mut rng) <= NUMBER_MAX);
    }

    #[test]
    fn two_nodes_that_answer_the_same_claim_choose_different_epochs() {
        let old = UnixTime(1);
        let mut chosen: Vec<u64> = (0..100)
            .map(|seed| next(7, 1 << 50, old, &mut fastrand::Rng::with_seed(seed)))
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        assert!(chosen.len() > 95);
    }

    #[test]
    fn absurd_claims_are_not_believed() {
        assert!(is_credible(1_795_000_000_000 << 11));
        assert!(!is_credible(NUMBER_MAX));
        assert!(!is_credible(u64::MAX));
    }
}
