//! One channel of the load: which entries are on their way, and to how many of its members.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::ensure;

/// An entry that somebody has not got yet.
#[derive(Clone, Copy, Debug)]
struct OnTheWay {
    due: Instant,
    missing: usize,
}

/// The members of one channel, and what each of them has got.
#[derive(Debug)]
pub(super) struct Lane {
    /// The seq up to which each member has everything.
    has: Vec<u64>,
    /// The seq before the first entry on its way.
    base: u64,
    on_the_way: VecDeque<OnTheWay>,
}

impl Lane {
    /// Members that have everything up to a seq.
    pub(super) fn new(members: usize, seq: u64) -> Self {
        Self {
            has: vec![seq; members],
            base: seq,
            on_the_way: VecDeque::new(),
        }
    }

    /// Notes entries that are published, due at a moment.
    pub(super) fn publish(&mut self, entries: usize, due: Instant) {
        let missing = self.has.len();
        self.on_the_way
            .extend(std::iter::repeat_n(OnTheWay { due, missing }, entries));
    }

    /// How many entries some member has not got.
    pub(super) fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }

    /// Notes that a member got the entries after one seq up to another; `got` hears when each was due.
    /// Returns how many entries everybody has got thereby.
    ///
    /// Errors: something was lost, repeated or never published.
    pub(super) fn deliver(
        &mut self,
        member: usize,
        after: u64,
        through: u64,
        mut got: impl FnMut(Instant),
    ) -> anyhow::Result<usize> {
        let has = self.has[member];
        ensure!(
            after == has && through > after,
            "member {member} has {has} and got {after} to {through}"
        );
        let end = self.base + self.on_the_way.len() as u64;
        ensure!(through <= end, "{through} was never published, {end} was");
        self.has[member] = through;
        let skip = usize::try_from(after - self.base)?;
        for entry in self
            .on_the_way
            .range_mut(skip..usize::try_from(through - self.base)?)
        {
            entry.missing -= 1;
            got(entry.due);
        }
        let before = self.on_the_way.len();
        while self
            .on_the_way
            .front()
            .is_some_and(|entry| entry.missing == 0)
        {
            self.on_the_way.pop_front();
            self.base += 1;
        }
        Ok(before - self.on_the_way.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_on_its_way_until_every_member_has_it() {
        let mut lane = Lane::new(2, 1);
        lane.publish(3, Instant::now());
        assert_eq!(lane.deliver(0, 1, 4, |_| ()).unwrap(), 0);
        assert_eq!(lane.deliver(1, 1, 3, |_| ()).unwrap(), 2);
        assert_eq!(lane.on_the_way(), 1);
        assert_eq!(lane.deliver(1, 3, 4, |_| ()).unwrap(), 1);
    }

    #[test]
    fn what_is_lost_repeated_or_made_up_is_an_error() {
        let mut lane = Lane::new(1, 1);
        lane.publish(3, Instant::now());
        assert!(lane.deliver(0, 2, 3, |_| ()).is_err(), "lost");
        lane.deliver(0, 1, 2, |_| ()).unwrap();
        assert!(lane.deliver(0, 1, 2, |_| ()).is_err(), "repeated");
        assert!(lane.deliver(0, 2, 5, |_| ()).is_err(), "made up");
    }
}
