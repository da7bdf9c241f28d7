//! How many bytes may go now, and when the next ones. Time comes in as an argument.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::conditions::{Conditions, Slicer};

/// A narrow link's bytes come evenly: no piece takes longer than this, but for a single byte.
const PIECE: Duration = Duration::from_millis(20);

/// Bandwidth and slices of one direction of a connection.
#[derive(Debug)]
pub(crate) struct Pace {
    random: Rng,
    /// When the line is free again.
    free: Option<Instant>,
    /// Bytes until the next cut, with the slicer that drew it. Cuts depend on the seed and on what was carried, not on
    /// how bytes happened to be read.
    slice: Option<(Slicer, u64)>,
}

impl Pace {
    pub(crate) fn new(random: Rng) -> Self {
        Self {
            random,
            free: None,
            slice: None,
        }
    }

    /// When the next piece may go, if not at once.
    pub(crate) fn free(&self) -> Option<Instant> {
        self.free
    }

    /// How many of `ready` bytes may go in one write; at least one of them.
    pub(crate) fn piece(&mut self, ready: usize, conditions: &Conditions) -> usize {
        let mut most = ready as u64;
        if let Some(rate) = conditions.bandwidth {
            let piece = u64::try_from(PIECE.as_millis()).unwrap_or(u64::MAX);
            most = most.min((rate.saturating_mul(piece) / 1000).max(1));
        }
        if let Some(slicer) = conditions.slicer {
            let left = match self.slice {
                Some((drawn_for, left)) if drawn_for == slicer => left,
                _ => self.draw(slicer),
            };
            most = most.min(left);
        }
        usize::try_from(most).unwrap_or(ready)
    }

    /// So many bytes went at `now`.
    pub(crate) fn went(&mut self, bytes: usize, now: Instant, conditions: &Conditions) {
        // What was asked for before is over if it is not asked for any more.
        let mut free = now;
        if let Some(rate) = conditions.bandwidth {
            let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            // From when it might have gone: a late wake-up must not make the link narrower.
            let earliest = now.checked_sub(PIECE).unwrap_or(now);
            let from = self.free.map_or(now, |free| free.clamp(earliest, now));
            free = from + takes;
        }
        if let (Some(slicer), Some((_, left))) = (conditions.slicer, &mut self.slice) {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                free = free.max(now + slicer.pause);
                self.draw(slicer);
            }
        }
        self.free = (conditions.bandwidth.is_some() || free > now).then_some(free);
    }

    /// Other conditions hold from now on.
    pub(crate) fn changed(&mut self) {
        self.free = None;
    }

    fn draw(&mut self, slicer: Slicer) -> u64 {
        let bytes = self.random.u64(slicer.min_bytes..=slicer.max_bytes);
        self.slice = Some((slicer, bytes));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cuts of a stream of which so many bytes are there at a time.
    fn cuts(seed: u64, at_a_time: usize) -> Vec<usize> {
        let conditions = Conditions::default().slicer(1, 9, Duration::ZERO);
        let mut pace = Pace::new(Rng::with_seed(seed));
        let (now, mut at, mut cuts) = (Instant::now(), 0, vec![]);
        while at < 1000 {
            let piece = pace.piece(at_a_time, &conditions);
            let (_, left) = pace.slice.unwrap();
            cuts.push(at + left as usize);
            at += piece;
            pace.went(piece, now, &conditions);
        }
        cuts.dedup();
        cuts
    }

    #[test]
    fn a_seed_cuts_a_stream_at_the_same_bytes_however_it_was_read() {
        let whole = cuts(7, 1000);
        assert!(
            whole
                .windows(2)
                .all(|two| (1..=9).contains(&(two[1] - two[0])))
        );
        assert_eq!(cuts(7, 1), whole);
        assert_eq!(cuts(7, 4), whole);
        assert_ne!(cuts(8, 1000), whole);
    }

    #[test]
    fn a_narrow_link_carries_what_it_may_also_when_it_is_woken_late() {
        let conditions = Conditions::default().bandwidth(10_000);
        let mut pace = Pace::new(Rng::with_seed(1));
        let begin = Instant::now();
        let (mut now, mut sent) = (begin, 0);
        while now < begin + Duration::from_secs(10) {
            let piece = pace.piece(usize::MAX, &conditions);
            assert_eq!(piece, 200);
            pace.went(piece, now, &conditions);
            sent += piece;
            // Timers fire up to 3 ms late.
            now = pace.free().unwrap() + Duration::from_millis(3);
        }
        assert!((98_000..=101_000).contains(&sent), "{sent}");
    }

    #[test]
    fn the_narrowest_link_carries_single_bytes() {
        let conditions = Conditions::default().bandwidth(2);
        let mut pace = Pace::new(Rng::with_seed(1));
        let now = Instant::now();
        assert_eq!(pace.piece(5, &conditions), 1);
        pace.went(1, now, &conditions);
        assert_eq!(pace.free(), Some(now + Duration::from_millis(500)));
        pace.changed();
        assert_eq!(pace.free(), None);
    }
}
