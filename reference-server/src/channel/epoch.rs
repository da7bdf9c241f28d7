//! Epochs: which incarnation of a channel's history this is.
//!
//! Invariant: an opened epoch is above every epoch that the log or any believed claim has named.

use tidewire_core::planted;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::NUMBER_MAX;

/// Epochs follow the clock from 2020 on (2020-01-01, Unix ms), 2^11 a millisecond: enough until 2159.
const ZERO_MS: u64 = 1_577_836_800_000;

/// What a clock that is absurdly far ahead gives: above it is room for 100,000 openings and more.
const CLOCK_MAX: u64 = NUMBER_MAX - (1 << 33);

/// The lowest epoch of a moment.
pub(super) const fn of_clock(unix_ms: u64) -> u64 {
    let epoch = unix_ms.saturating_sub(ZERO_MS).saturating_mul(1 << 11);
    if epoch < CLOCK_MAX { epoch } else { CLOCK_MAX }
}

/// Whether there is an epoch above this one, wherever in its range it is chosen.
pub(super) const fn is_followed(epoch: u64) -> bool {
    epoch <= NUMBER_MAX - SPREAD
}

/// How far above the highest known number an epoch may be chosen.
const SPREAD: u64 = 1 << 16;

/// The epoch to open: above what is known and claimed, and unlikely to be chosen by another node.
///
/// The spread goes on top of whichever number is highest. With a bare `claim + 1`, two logs that were
/// both lost could have had the same epoch, opened for the same claim: a client that saw the first one
/// would have taken the second for its continuation (tests/fixtures/seeds.txt, 70).
pub(super) fn next(known: u64, claim: u64, unix: UnixTime, rng: &mut fastrand::Rng) -> u64 {
    let clock = of_clock(unix.0);
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
        assert!(by_clock > of_clock(now.0));
        assert_eq!((by_clock >> 11).abs_diff(now.0 - ZERO_MS) >> 5, 0);
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
    fn epochs_last_until_2159() {
        let year = 365 * 24 * 60 * 60 * 1000 + 6 * 60 * 60 * 1000;
        assert!(of_clock(ZERO_MS + 139 * year) < CLOCK_MAX);
        assert_eq!(of_clock(ZERO_MS + 140 * year), CLOCK_MAX);
        assert_eq!(of_clock(1), 0);
    }

    #[test]
    fn an_epoch_at_the_end_of_the_numbers_is_followed_by_none() {
        assert!(is_followed(NUMBER_MAX - SPREAD));
        assert!(!is_followed(NUMBER_MAX - SPREAD + 1));
        assert!(!is_followed(u64::MAX));
    }
}
