//! Taking turns: A B A B …, so that whatever else the machine does meets all of them alike.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As much as a figure needs.
    Full,
    /// As little as shows that the benchmark still works; the figures mean nothing.
    Tiny,
}

impl Scale {
    /// One of two sizes.
    pub fn pick<T>(self, full: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Tiny => tiny,
        }
    }

    /// How often each contender runs.
    #[must_use]
    pub fn rounds(self) -> usize {
        self.pick(9, 1)
    }
}

/// The best figure of each contender over several rounds: what others take from the machine only
/// ever makes figures worse.
#[derive(Clone, Copy, Debug)]
pub struct Best<const N: usize> {
    better: fn(f64, f64) -> f64,
    figures: [f64; N],
}

impl<const N: usize> Best<N> {
    /// Of rates: the highest counts.
    #[must_use]
    pub const fn highest() -> Self {
        Self {
            better: f64::max,
            figures: [f64::NEG_INFINITY; N],
        }
    }

    /// Of costs: the lowest counts.
    #[must_use]
    pub const fn lowest() -> Self {
        Self {
            better: f64::min,
            figures: [f64::INFINITY; N],
        }
    }

    /// Takes the figure of one contender in one round.
    pub fn note(&mut self, which: usize, figure: f64) {
        self.figures[which] = (self.better)(self.figures[which], figure);
    }

    /// The best one of each.
    #[must_use]
    pub const fn figures(&self) -> [f64; N] {
        self.figures
    }
}

/// The shortest time of each contender: what others take from the machine only ever adds.
#[derive(Debug)]
pub struct Rounds<const N: usize> {
    best: [Duration; N],
}

impl<const N: usize> Rounds<N> {
    /// Runs `contend(0)`, `contend(1)`, … in turns, each of which returns how long it took.
    pub fn run(rounds: usize, mut contend: impl FnMut(usize) -> Duration) -> Self {
        let mut best = [Duration::MAX; N];
        for _ in 0..rounds {
            for (which, best) in best.iter_mut().enumerate() {
                *best = (*best).min(contend(which));
            }
        }
        Self { best }
    }

    /// Nanoseconds per operation of one contender.
    #[must_use]
    pub fn nanos(&self, which: usize, operations: usize) -> f64 {
        self.best[which].as_secs_f64() * 1e9 / operations as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_round_of_each_contender_counts() {
        let rounds = [[3.0, 1.0], [2.0, 5.0]];
        let (mut rates, mut costs) = (Best::<2>::highest(), Best::<2>::lowest());
        for round in rounds {
            for (which, figure) in round.into_iter().enumerate() {
                rates.note(which, figure);
                costs.note(which, figure);
            }
        }
        assert_eq!(rates.figures(), [3.0, 5.0]);
        assert_eq!(costs.figures(), [2.0, 1.0]);
    }
}
