//! How much memory everything together takes that clients can make grow.
//!
//! Each holder has an [`Account`] and says what it holds; the sum of all is compared with one limit.
//! Bounds of single channels and queues alone multiply to more than any machine has.
//!
//! Policy: from the threshold on nobody new is taken in, so that those who are in can be served; at the
//! limit pushes are told `hold` as well. Reading always goes on, as it is what lets queues and logs
//! shrink. What is counted are bytes of contents, not of the allocator's books.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Entries of logs that are in memory: those kept for resume, and the memory broker's.
    Log,
    /// Records.
    Document,
    /// What is known of authors and their numbers.
    Table,
    /// Frames that wait for clients.
    Queue,
    /// Pushes that wait for an append.
    Push,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Log,
        Self::Document,
        Self::Table,
        Self::Queue,
        Self::Push,
    ];

    /// As metrics name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Document => "document",
            Self::Table => "table",
            Self::Queue => "queue",
            Self::Push => "push",
        }
    }
}

/// The bytes that one process may hold. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: u64,
    pressed_at: u64,
    used: [AtomicU64; Kind::ALL.len()],
}

impl Budget {
    /// So many bytes, and the part of them from which on nobody new is taken in.
    pub(crate) fn new(bytes_max: u64, threshold: f64) -> Self {
        // A part of a number that fits is a number that fits.
        let pressed_at = (bytes_max as f64 * threshold.clamp(0.0, 1.0)) as u64;
        Self {
            shared: Arc::new(Shared {
                bytes_max,
                pressed_at,
                used: Default::default(),
            }),
        }
    }

    /// What somebody holds; nothing yet.
    pub(crate) fn account(&self) -> Account {
        Account {
            budget: self.clone(),
            bytes: [0; Kind::ALL.len()],
        }
    }

    /// How many bytes of a kind are held.
    pub(crate) fn used_by(&self, kind: Kind) -> u64 {
        self.shared.used[kind as usize].load(Ordering::Relaxed)
    }

    /// How many bytes are held.
    pub(crate) fn used(&self) -> u64 {
        // Each of them is right by itself; between two of them others may move.
        Kind::ALL
            .iter()
            .fold(0, |sum: u64, kind| sum.saturating_add(self.used_by(*kind)))
    }

    /// How many may be.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.shared.bytes_max
    }

    /// Whether nobody new is taken in.
    pub(crate) fn is_pressed(&self) -> bool {
        self.used() >= self.shared.pressed_at
    }

    /// Whether nothing is taken in that would make anything grow.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.shared.bytes_max
    }

    fn change(&self, kind: Kind, from: u64, to: u64) {
        let used = &self.shared.used[kind as usize];
        if to > from {
            used.fetch_add(to - from, Ordering::Relaxed);
        } else if from > to {
            used.fetch_sub(from - to, Ordering::Relaxed);
        }
    }
}

/// What one holder has; given back when dropped.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Budget,
    bytes: [u64; Kind::ALL.len()],
}

impl Account {
    /// Says how much of a kind it is now.
    pub(crate) fn set(&mut self, kind: Kind, bytes: usize) {
        let held = &mut self.bytes[kind as usize];
        let bytes = bytes as u64;
        // Most of the time nothing has changed, and what all share is not touched.
        if *held != bytes {
            self.budget.change(kind, *held, bytes);
            *held = bytes;
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        for kind in Kind::ALL {
            self.set(kind, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_count_together_and_give_back_what_they_had() {
        let budget = Budget::new(1000, 0.5);
        let mut one = budget.account();
        let mut two = budget.account();
        one.set(Kind::Log, 300);
        two.set(Kind::Queue, 199);
        assert_eq!((budget.used(), budget.is_pressed()), (499, false));
        two.set(Kind::Queue, 200);
        assert!(budget.is_pressed() && !budget.is_full());
        one.set(Kind::Log, 800);
        assert!(budget.is_full());
        assert_eq!(budget.used_by(Kind::Log), 800);
        one.set(Kind::Log, 10);
        assert_eq!((budget.used(), budget.is_pressed()), (210, false));
        drop((one, two));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_budget_of_nothing_is_full_and_one_without_end_never() {
        let none = Budget::new(0, 0.85);
        assert!(none.is_full() && none.is_pressed());
        let all = Budget::new(u64::MAX, 1.0);
        let mut account = all.account();
        account.set(Kind::Push, usize::MAX / 2);
        assert!(!all.is_full() && !all.is_pressed());
    }
}
