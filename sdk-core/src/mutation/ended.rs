//! How mutations ended, for whoever asks late.

use std::collections::{BTreeMap, VecDeque};

use super::{MutationHandle, MutationStatus};

/// How many outcomes are remembered. Policy at the limit: the one told longest ago is forgotten.
const ENDED_MAX: usize = 1000;

/// The newest outcomes of a session.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    status: BTreeMap<MutationHandle, MutationStatus>,
    order: VecDeque<MutationHandle>,
}

impl Ended {
    /// Remembers an outcome; one that follows another takes its place.
    pub(crate) fn insert(&mut self, handle: MutationHandle, status: MutationStatus) {
        if self.status.insert(handle, status).is_some() {
            return;
        }
        self.order.push_back(handle);
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.status.remove(&oldest);
        }
    }

    pub(crate) fn status(&self, handle: MutationHandle) -> Option<&MutationStatus> {
        self.status.get(&handle)
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
        assert_eq!(ended.status.len(), ENDED_MAX);
    }
}
