//! What was committed and has left the outbox: who can still be told that it is lost.

use std::collections::VecDeque;

use super::MutationHandle;

/// How many marks a channel keeps. Policy at the limit: the oldest is forgotten; the application then
/// learns of the loss by `history_lost` alone.
const MARKS_MAX: usize = 4096;

/// Committed mutations in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    committed: VecDeque<(u64, MutationHandle)>,
}

impl Marks {
    pub(crate) fn insert(&mut self, n: u64, handle: MutationHandle) {
        if self.committed.len() == MARKS_MAX {
            self.committed.pop_front();
        }
        self.committed.push_back((n, handle));
    }

    /// It is committed no more.
    pub(crate) fn take(&mut self, n: u64) -> Option<MutationHandle> {
        let at = self.committed.iter().rposition(|mark| mark.0 == n)?;
        self.committed.remove(at).map(|mark| mark.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_mark_makes_room() {
        let mut marks = Marks::default();
        for n in 1..=MARKS_MAX as u64 + 1 {
            marks.insert(n, MutationHandle(n));
        }
        assert_eq!(marks.take(1), None);
        assert_eq!(marks.take(2), Some(MutationHandle(2)));
        assert_eq!(marks.take(2), None);
    }
}
