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
