//! How mutations ended, for whoever asks late.

use std::collections::VecDeque;

use super::{MutationHandle, MutationStatus};

/// How many outcomes are remembered. Policy at the limit: the one told longest ago is forgotten.
const ENDED_MAX: usize = 1000;

/// The newest outcomes of a session, in the order in which they were told. Few ask, so they search.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    outcomes: VecDeque<(MutationHandle, MutationStatus)>,
}

impl Ended {
    /// Remembers an outcome; one that follows another takes its place.
    pub(crate) fn insert(&mut self, handle: MutationHandle, status: MutationStatus) {
        if let Some((_, known)) = self.outcomes.iter_mut().find(|(of, _)| *of == handle) {
            *known = status;
            return;
        }
        if self.outcomes.len() == ENDED_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((handle, status));
    }

    pub(crate) fn status(&self, handle: MutationHandle) -> Option<&MutationStatus> {
        let known = self.outcomes.iter().find(|(of, _)| *of == handle)?;
        Some(&known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_each_with_its_last_outcome() {
        let mut ended = Ended::default();
        ended.insert(MutationHandle(1), MutationStatus::Committed);
        for n in 2..=ENDED_MAX as u64 {
            ended.insert(MutationHandle(n), MutationStatus::Cancelled);
        }
        ended.insert(MutationHandle(1), MutationStatus::Lost);
        assert_eq!(ended.status(MutationHandle(1)), Some(&MutationStatus::Lost));
        ended.insert(MutationHandle(0), MutationStatus::Expired);
        assert_eq!(ended.status(MutationHandle(1)), None);
        assert_eq!(ended.outcomes.len(), ENDED_MAX);
    }
}
